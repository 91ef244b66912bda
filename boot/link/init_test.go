package link

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

func TestParseCmdline(t *testing.T) {
	o, err := ParseCmdline(`quiet console=ttyS0,115200 x="bootlace" bootlace.server=10.0.0.1 bootlace.addr=10.0.0.9/24 bootlace.action=serve bootlace.store=LAB bootlace.console=tty0,ttyS1` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if o.Server != netip.MustParseAddr("10.0.0.1") || o.Addr != netip.MustParsePrefix("10.0.0.9/24") ||
		o.Action != boot.ActionServe || o.Volume != "LAB" || !slices.Equal(o.Console, []string{"tty0", "ttyS1"}) {
		t.Errorf("got %+v", o)
	}
	for _, bad := range []string{
		"bootlace.server=", "bootlace.server=host", "bootlace.addr=10.0.0.1", "bootlace.action=flash", "bootlace.sever=10.0.0.1",
	} {
		t.Run(bad, func(t *testing.T) {
			o, err := ParseCmdline("a " + bad + ` bootlace.store="X`)
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("error %v does not name it", err)
			}
			if o.Volume != `"X` {
				t.Errorf("the other words were lost: %+v", o)
			}
		})
	}
}

func FuzzParseCmdline(f *testing.F) {
	f.Add(`bootlace.server=" bootlace.addr== =`)
	f.Fuzz(func(t *testing.T, line string) { ParseCmdline(line) })
}

// makeFS makes a file system image of 64 MiB, sparse.
func makeFS(t *testing.T, command string, args ...string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(nettest.Need(t, command), append(args, name)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return f
}

func TestReadLabel(t *testing.T) {
	tests := []struct {
		typ, label string
		command    []string
	}{
		{"ext4", "BOOTLACE", []string{"mkfs.ext4", "-q", "-L", "BOOTLACE"}},
		{"ext4", "", []string{"mkfs.ext4", "-q"}},
		{"ext4", "sixteen-letters-", []string{"mkfs.ext4", "-q", "-L", "sixteen-letters-"}},
		{"vfat", "BOOTLACE", []string{"mkfs.vfat", "-F32", "-n", "BOOTLACE"}},
		{"vfat", "BOOTLACE", []string{"mkfs.vfat", "-F16", "-n", "BOOTLACE"}},
		{"vfat", "BOOTLACE", []string{"mkfs.vfat", "-F12", "-s64", "-n", "BOOTLACE"}},
		{"vfat", "", []string{"mkfs.vfat", "-F32"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.command, " "), func(t *testing.T) {
			f := makeFS(t, tt.command[0], tt.command[1:]...)
			typ, label, err := ReadLabel(f)
			if err != nil || typ != tt.typ || label != tt.label {
				t.Errorf("got %q, %q, %v; want %q, %q", typ, label, err, tt.typ, tt.label)
			}
		})
	}
}

// A label that was changed in the root directory alone, as other systems do.
func TestReadLabelOfRootDirectory(t *testing.T) {
	f := makeFS(t, "mkfs.vfat", "-F32", "-n", "OLD")
	raw := make([]byte, 4<<20)
	if _, err := f.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(raw[512:], []byte("OLD        \x08")) + 512
	if i < 1024 {
		t.Fatalf("no root directory entry found, at %d", i)
	}
	if _, err := f.WriteAt([]byte("BOOTLACE   "), int64(i)); err != nil {
		t.Fatal(err)
	}
	if _, label, err := ReadLabel(f); label != "BOOTLACE" || err != nil {
		t.Errorf("got %q, %v", label, err)
	}
}

func TestReadLabelOfOtherThings(t *testing.T) {
	for _, tt := range []struct {
		name string
		disk []byte
	}{
		{"nothing", nil}, {"a few bytes", make([]byte, 100)}, {"zeros", make([]byte, 4096)}, {"ones", bytes.Repeat([]byte{0xff}, 4096)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if typ, _, err := ReadLabel(bytes.NewReader(tt.disk)); err == nil {
				t.Errorf("taken for %s", typ)
			}
		})
	}
}

func FuzzReadLabel(f *testing.F) {
	b := make([]byte, 2048)
	copy(b[0x52:], "FAT32")
	b[510], b[511] = 0x55, 0xaa
	f.Add(b)
	f.Add(append(b, bytes.Repeat([]byte{0xff}, 2048)...))
	f.Fuzz(func(t *testing.T, b []byte) { ReadLabel(bytes.NewReader(b)) })
}

func TestFindVolumeGivesUpWhenSettled(t *testing.T) {
	start := time.Now()
	if _, err := FindVolume(t.Context(), "no such label here", 300*time.Millisecond); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("gave up after %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FindVolume(ctx, "no such label here", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestLoadModulesGoesOn(t *testing.T) {
	dir := t.TempDir()
	notOne := filepath.Join(dir, "b.ko")
	os.WriteFile(notOne, []byte("not a module"), 0o644)
	list := filepath.Join(dir, "modules")
	os.WriteFile(list, []byte(filepath.Join(dir, "a.ko")+"\n\n"+notOne+"\n"), 0o644)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	LoadModules(log, list)
	for _, want := range []string{"a.ko", "b.ko"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not name %s: %s", want, &out)
		}
	}
	out.Reset()
	LoadModules(log, filepath.Join(dir, "none"))
	if out.Len() > 0 {
		t.Errorf("no list of modules is no error: %s", &out)
	}
}

func TestConsoleWritesToAllAndNeverBlocks(t *testing.T) {
	dir := t.TempDir()
	a, err := os.Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe() // stands for a serial line that flow control stopped
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := &Console{ttys: []*os.File{w, a}, stuck: make([]bool, 2)}
	start := time.Now()
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 100 { // a pipe holds 64 KiB
		if n, err := c.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	// A stuck console is waited for once. Line by line it would be longer.
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("100 lines took %v", took)
	}
	if st, err := a.Stat(); err != nil || st.Size() != 100<<10 {
		t.Errorf("the other console has %v bytes, %v", st.Size(), err)
	}
}
