//go:build qemu

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/u-root/u-root/pkg/cpio"
)

// liveARM64 is the live system of an arm64 machine, in the root.
const liveARM64 = "live/arm64.cpio"

// An arm64 machine is handed a kernel by one that has no kexec_file_load(2):
// Debian's, which is also what it is handed.
func TestQEMUBootArm64(t *testing.T) {
	b, _ := board.ByName("qemu-arm64")
	if err := lab.Missing(b, ""); err != nil {
		nettest.Skip(t, err.Error())
	}
	prepare(t)
	packARM64(t, filepath.Join(made.root, liveARM64))
	l := newLAN(t, lanConfig+`profiles:
  - {name: live, match: {board: `+b.Name+`}, action: boot, on_failure: wait,
     kernel: `+b.File(board.Kernel)+`, initrd: `+liveARM64+`, cmdline: console=ttyAMA0 live=yes}
`)
	l.serving(t)
	vm, err := lab.Start(t.Context(), lab.Machine{
		Board:   b,
		Kernel:  filepath.Join(made.root, b.File(board.Kernel)),
		Initrd:  filepath.Join(made.root, b.File(board.Initramfs)),
		Cmdline: b.CommandLine() + " quiet",
		NICs:    []lab.NIC{{End: l.end, MAC: "52:54:00:b0:00:64"}},
		Args:    []string{"-m", "256"},
	})
	started(t, vm, err)
	wait(t, vm, `bootlace: done: starts `)
	wait(t, vm, `live system: up, command line .*live=yes`)
	l.heard(t, 0, boot.KindHandover)
	l.heard(t, 0, boot.KindDone)
}

// packARM64 packs the live system for arm64.
func packARM64(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module live\n", "main.go": liveInit} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "init", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOARCH=arm64")
	if err := output(cmd); err != nil {
		t.Fatal(err)
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := cpio.Newc.Writer(f)
	records := []cpio.Record{cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.StaticFile("init", string(init), 0o755)}
	if err := cpio.WriteRecords(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
}
