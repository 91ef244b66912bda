//go:build qemu

package main

import (
	"context"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/images/firmware"
)

// A rescue image gives a shell on the console that runs u-root's tools. The
// board's modules are loaded. The machine restarts when the shell ends.
func TestQEMURescue(t *testing.T) {
	b := board.Boards[0]
	if err := lab.Missing(b, ""); err != nil {
		nettest.Skip(t, err.Error())
	}
	root := t.TempDir()
	if err := build(t.Context(), []string{b.Name, "--fast", "--rescue", "-o", root}); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(root, "disk.raw")
	if err := lab.BlankDisk(disk, 1<<20); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	end, _ := lab.Link(dir)
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: "rescue", Board: b,
		Kernel:  filepath.Join(root, b.File(board.Kernel)),
		Initrd:  filepath.Join(root, b.File(board.Initramfs)),
		Cmdline: b.CommandLine() + " rdinit=/" + firmware.RescueInit,
		NICs:    []lab.NIC{{End: end, MAC: machineMAC}},
		Disks:   []lab.Disk{{Path: disk, Serial: machineSerial}},
	})
	mustStart(t, vm, err)
	wait(t, vm, `^Bootlace rescue: `)
	for _, c := range []struct{ typed, answer string }{
		{"echo up-$(uname -m)", `^up-x86_64$`},
		{"cat /sys/block/vda/serial; echo", `^` + machineSerial},
		{"ip link", regexp.QuoteMeta(machineMAC)},
		{"exit", `Linux version`},
	} {
		typeUntil(t, vm, c.typed, c.answer)
	}
}

// typeUntil types a line until it is answered, because a shell that is just starting
// drops what was typed.
func typeUntil(t *testing.T, vm *lab.VM, typed, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			vm.Type(typed + "\n")
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		}
	}()
	line, err := vm.WaitFor(ctx, regexp.MustCompile(answer))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %6.1f %s", vm.Name, line.At.Seconds(), line.Text)
}
