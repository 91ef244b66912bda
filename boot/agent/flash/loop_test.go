package flash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// loop makes a loop device of a file; sandboxes often cannot.
func loop(t *testing.T, backing string) (dev string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
	out, err := exec.Command("losetup", "--find", "--show", "--partscan", backing).CombinedOutput()
	if err != nil {
		t.Skipf("losetup: %v: %s", err, out)
	}
	dev = strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", dev).Run() })
	return dev
}

func openLoop(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mbrImage is a disk image with one partition.
func mbrImage(n int) []byte {
	raw := rawImage(1, n)
	clear(raw[440:1024])
	entry := raw[446:462]
	entry[4] = 0x83
	binary.LittleEndian.PutUint32(entry[8:], 4096)                   // first sector
	binary.LittleEndian.PutUint32(entry[12:], uint32(n/sector)-4096) // sectors
	copy(raw[510:], "\x55\xaa")
	return raw
}

func TestLoop(t *testing.T) {
	_, backing := blank(t, 8*mib)
	path := loop(t, backing)
	raw := mbrImage(6 * mib)
	stored, m := store(t, "zstd", raw)
	dev := openLoop(t, path)
	if dev.Size() != 8*mib {
		t.Errorf("size %d", dev.Size())
	}
	if f, err := Open(path); err == nil {
		f.Close()
		t.Error("a disk was opened by two at once")
	} else if !strings.Contains(err.Error(), "is mounted or part of something") {
		t.Error(err)
	}
	// A hole with junk in it, cleared by a command of the block layer.
	if _, err := dev.WriteAt(bytes.Repeat([]byte("junk"), mib/4), mib); err != nil {
		t.Fatal(err)
	}
	res, err := Write(t.Context(), dev, m, from(stored), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(backing)
	if err != nil || !bytes.Equal(got[:len(raw)], raw) {
		t.Errorf("the backing file differs, %v", err)
	}
	if res.Written != 5*mib || res.Skipped != mib {
		t.Errorf("%+v", res)
	}
	// What the kernel finds when it first sees such a disk it finds on this one.
	under := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(under, got, 0o600); err != nil {
		t.Fatal(err)
	}
	control := loop(t, under)
	if want := partitions(control); res.Note == "" && partitions(path) != want {
		t.Errorf("the kernel sees %d partitions, want %d", partitions(path), want)
	}
}

func partitions(dev string) int {
	name := filepath.Base(dev)
	p, _ := filepath.Glob("/sys/block/" + name + "/" + name + "p*")
	return len(p)
}

// behind changes what lies under the loop device's page cache, once it was
// synced. It does so in another page than the boot sector's. A read-back that
// asks the cache would not see it.
type behind struct {
	*File
	backing string
	at      int64
	done    bool
}

func (b *behind) Sync() error {
	if err := b.File.Sync(); err != nil || b.done {
		return err
	}
	f, err := os.OpenFile(b.backing, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var c [1]byte
	if _, err := f.ReadAt(c[:], b.at); err != nil {
		return err
	}
	if c[0] == 0 {
		return nil // not written yet
	}
	b.done = true
	c[0] ^= 1
	if _, err := f.WriteAt(c[:], b.at); err != nil {
		return err
	}
	return f.Sync()
}

func TestReadBackAsksTheMedium(t *testing.T) {
	stored, m := store(t, "zstd", rawImage(1, 6*mib))
	for _, at := range []int64{16000, 2*mib + 1600, 6*mib - 16} {
		t.Run(fmt.Sprint("fault at ", at), func(t *testing.T) {
			_, backing := blank(t, 6*mib)
			dev := &behind{File: openLoop(t, loop(t, backing)), backing: backing, at: at}
			_, err := Write(t.Context(), dev, m, from(stored), Options{})
			if err == nil || !dev.done || !strings.Contains(err.Error(), "read back") {
				t.Errorf("byte %d changed on the medium: %v", at, err)
			}
			dev.Close()
		})
	}
}
