package kexec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
