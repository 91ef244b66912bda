package kexec

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no kernel is refused, in words without descriptors or command line.
// Nothing is ever executed here; QEMU tests do that.
func TestLoadRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(name, []byte(strings.Repeat("not a kernel ", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = Load(f, nil, "secret=1")
	if err == nil {
		t.Fatal("loaded")
	}
	if !strings.HasPrefix(err.Error(), "load kernel: ") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %q", err)
	}
}

func TestSupported(t *testing.T) {
	if err := supported("arm"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "arm") {
		t.Errorf("arm: %v", err)
	}
	if err := supported("amd64"); err != nil {
		t.Errorf("amd64: %v", err)
	}
}

// What the calls say is told in the words of who reads it.
func TestExplain(t *testing.T) {
	odd := errors.New("no place for the kernel")
	for _, tt := range []struct {
		err    error
		goarch string
		is     error
		want   string
	}{
		{unix.ENOSYS, "amd64", ErrUnsupported, "this kernel was built without kexec_file_load"},
		{unix.ENOSYS, "arm64", ErrUnsupported, "without kexec_file_load and kexec_load"},
		{unix.EPERM, "arm64", ErrUnsupported, "locked down"},
		{unix.EBUSY, "arm64", unix.EBUSY, "nr_cpus=1"},
		{unix.EBUSY, "amd64", unix.EBUSY, unix.EBUSY.Error()},
		{unix.ENOEXEC, "amd64", unix.ENOEXEC, "not a kernel for amd64"},
		{unix.ENOMEM, "arm64", unix.ENOMEM, "times the size of kernel and initrd"},
		{unix.EINVAL, "arm64", unix.EINVAL, unix.EINVAL.Error()},
		{odd, "arm64", odd, odd.Error()},
	} {
		err := explain(tt.err, tt.goarch)
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v on %s: %v, want %q", tt.err, tt.goarch, err, tt.want)
		}
	}
}

// A file is mapped as it is; an empty one is nothing to boot.
func TestMapFile(t *testing.T) {
	for _, text := range []string{"kernel", ""} {
		t.Run(strconv.Quote(text), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b, err := mapFile(f)
			if text == "" {
				if err == nil {
					t.Error("an empty file was mapped")
				}
				return
			}
			if err != nil || string(b) != text {
				t.Errorf("%q, %v", b, err)
			}
			if err := unix.Munmap(b); err != nil {
				t.Error(err)
			}
		})
	}
}
