package efi

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot/nettest"
)

const (
	diskSize = 32 << 20
	espGUID  = "01234567-89ab-cdef-0123-456789abcdef"
	rootGUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

const table = `label: gpt
start=2048, size=32768, type=uefi, uuid=` + espGUID + `, name="EFI system"
start=40960, size=20480, type=linux, uuid=` + rootGUID + `, name="root ü"
`

// newDisk is a disk image with a table that sfdisk made.
func newDisk(t testing.TB, table string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, diskSize); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nettest.Need(t, "sfdisk"), "--quiet", name)
	cmd.Stdin = strings.NewReader(table)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func checkTable(t *testing.T, parts []Partition, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 2 {
		t.Fatalf("got %d partitions: %+v", len(parts), parts)
	}
	esp, root := parts[0], parts[1]
	if !esp.ESP() || esp.Number != 1 || esp.Start != 2048 || esp.Size != 32768 || esp.GUID.String() != espGUID || esp.Name != "EFI system" {
		t.Errorf("ESP: %+v", esp)
	}
	if root.ESP() || root.Number != 2 || root.Start != 40960 || root.Size != 20480 || root.GUID.String() != rootGUID || root.Name != "root ü" {
		t.Errorf("root: %+v", root)
	}
}

func TestReadGPT(t *testing.T) {
	disk := newDisk(t, table)
	parts, err := ReadGPT(bytes.NewReader(disk), diskSize)
	checkTable(t, parts, err)

	t.Run("image smaller than its disk", func(t *testing.T) {
		big := append(bytes.Clone(disk), make([]byte, diskSize)...)
		parts, err := ReadGPT(bytes.NewReader(big), int64(len(big)))
		checkTable(t, parts, err)
	})
	for name, at := range map[string]int{"signature": 512, "header": 512 + 0x50, "checksum": 512 + 16, "entries": 1024 + 5} {
		t.Run("backup, primary damaged in its "+name, func(t *testing.T) {
			d := bytes.Clone(disk)
			d[at] ^= 1
			parts, err := ReadGPT(bytes.NewReader(d), diskSize)
			checkTable(t, parts, err)
			d[diskSize-512] ^= 1
			if _, err := ReadGPT(bytes.NewReader(d), diskSize); !errors.Is(err, ErrNoGPT) {
				t.Errorf("both damaged: error %v, want ErrNoGPT", err)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		for _, n := range []int{0, 511, 512, 1024, 20000} {
			if _, err := ReadGPT(bytes.NewReader(disk[:n]), int64(n)); !errors.Is(err, ErrNoGPT) {
				t.Errorf("%d bytes: error %v, want ErrNoGPT", n, err)
			}
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		if _, err := ReadGPT(bytes.NewReader(disk[:700]), diskSize); !errors.Is(err, io.EOF) || errors.Is(err, ErrNoGPT) {
			t.Errorf("error %v, want that of reading", err)
		}
	})
	t.Run("MBR", func(t *testing.T) {
		d := newDisk(t, "label: dos\nstart=2048, size=4096, type=83\n")
		if _, err := ReadGPT(bytes.NewReader(d), diskSize); !errors.Is(err, ErrNoGPT) {
			t.Errorf("error %v, want ErrNoGPT", err)
		}
	})
}

func TestReadGPTOf4KiBBlocks(t *testing.T) {
	// sfdisk takes the block size of a file for 512, so the table is moved:
	// header and entries to their blocks, and the numbers divided by 8.
	disk := fourK(newDisk(t, table))
	parts, err := ReadGPT(bytes.NewReader(disk), diskSize)
	if err != nil || len(parts) != 2 {
		t.Fatalf("got %+v, %v", parts, err)
	}
	if parts[0].Start != 256 || parts[0].Size != 4096 {
		t.Errorf("ESP: %+v", parts[0])
	}
}

func FuzzReadGPT(f *testing.F) {
	disk := newDisk(f, table)
	f.Add(disk[512:1024], disk[1024:1024+256])
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		// The checksums are made right, or nothing behind them would be tried.
		d := make([]byte, 1<<20)
		copy(d[512:1024], header)
		copy(d[1024:], entries)
		seal(d, 512)
		parts, err := ReadGPT(bytes.NewReader(d), int64(len(d)))
		for _, p := range parts {
			if p.Size == 0 || p.Start+p.Size > uint64(len(d))/512 {
				t.Errorf("partition outside the disk: %+v", p)
			}
		}
		if err == nil && len(parts) > maxTable/128 {
			t.Errorf("%d partitions", len(parts))
		}
	})
}
