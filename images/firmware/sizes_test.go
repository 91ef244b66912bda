package firmware

import (
	"os"
	"path/filepath"
	"testing"
)

// The binaries keep to their sizes, with inlining as in a plain build. The limits
// grow only with a feature that was decided to be worth it. Package cmd/mkboot
// holds those of the initramfs.
//
// Generic code is compiled anew for each struct it is used with. slices.SortFunc is
// 10 to 22 KB of a binary each time, so lists of structs are sorted with sort.Slice.
func TestSizes(t *testing.T) {
	src, err := OpenSource(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, tt := range []struct {
		name  string
		flags []string
		most  int64 // bytes
	}{
		{"full", nil, 11_950_000},
		{"device", []string{"-tags", "device"}, 8_660_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "bootlace")
			if err := src.GoBuild(t.Context(), AgentPackage, "amd64", program, tt.flags...); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(program)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("amd64: %d bytes of at most %d", info.Size(), tt.most)
			if info.Size() > tt.most {
				t.Error("that is too large")
			}
		})
	}
}
