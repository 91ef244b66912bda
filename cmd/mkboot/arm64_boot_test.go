//go:build qemu

package main

import (
	"path/filepath"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// liveARM64 is the live system for arm64, in the root.
const liveARM64 = "live/arm64.cpio"

// An arm64 machine boots a kernel by kexec from one without kexec_file_load(2).
// Both are Debian's kernel.
func TestQEMUBootArm64(t *testing.T) {
	b, _ := board.ByName("qemu-arm64")
	if err := lab.Missing(b, ""); err != nil {
		nettest.Skip(t, err.Error())
	}
	prepare(t)
	if err := makeLive(filepath.Join(made.root, liveARM64), b.Arch); err != nil {
		t.Fatal(err)
	}
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
	mustStart(t, vm, err)
	wait(t, vm, `bootlace: done: starts `)
	wait(t, vm, `live system: up, command line .*live=yes`)
	l.waitEvent(t, 0, boot.KindHandover)
	l.waitEvent(t, 0, boot.KindDone)
}
