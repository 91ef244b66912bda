//go:build qemu

package main

import (
	"path/filepath"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/nettest"
)

// An arm64 machine becomes an appliance if it has a disk labelled BOOTLACE. One
// whose profile says serve becomes one once it has such a disk.
func TestQEMUServeARM64(t *testing.T) {
	b, _ := board.ByName("qemu-arm64")
	if err := lab.Missing(b, ""); err != nil {
		nettest.Skip(t, err.Error())
	}
	prepare(t)
	root := filepath.Join(made.dir, "serve")
	if err := build(t.Context(), []string{b.Name, "--fast", "--serve", "-o", root}); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "bootlace.raw")
	if err := (lab.Volume{Config: "log: json\naddress: 10.77.0.2/24\n"}).Make(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	m := lab.Machine{
		Board:   b,
		Kernel:  filepath.Join(root, b.File(board.Kernel)),
		Initrd:  filepath.Join(root, b.File(board.Initramfs)),
		Cmdline: b.CommandLine() + " quiet",
		NICs:    []lab.NIC{{MAC: applianceMAC}},
	}
	const serving = `"msg":"serving".*"dhcp":"proxy".*"address":"10\.77\.0\.2"`

	t.Run("store", func(t *testing.T) {
		m.NICs[0].End, _ = lab.Link(t.TempDir())
		m.Disks = []lab.Disk{{Path: disk, Serial: "STORE"}}
		vm, err := lab.Start(t.Context(), m)
		mustStart(t, vm, err)
		wait(t, vm, serving)
	})
	t.Run("profile", func(t *testing.T) {
		// The firmware of made.root cannot serve, which the config's check notices.
		l := newLANOf(t, root, lanConfig+"profiles: [{name: second, match: {board: "+b.Name+"}, action: serve}]\n")
		l.serving(t)
		m.NICs[0].End, m.Disks = l.end, nil
		m.Args = []string{"-device", "virtio-scsi-pci,id=scsi"}
		vm, err := lab.Start(t.Context(), m)
		mustStart(t, vm, err)
		wait(t, vm, `bootlace: failed: serve: there is no disk labelled BOOTLACE`)
		for _, add := range []struct {
			command string
			args    map[string]any
		}{
			{"blockdev-add", map[string]any{"node-name": "store", "driver": "raw", "file": map[string]any{"driver": "file", "filename": disk}}},
			{"device_add", map[string]any{"driver": "scsi-hd", "bus": "scsi.0", "drive": "store"}},
		} {
			if _, err := vm.QMP(t.Context(), add.command, add.args); err != nil {
				t.Fatal(err)
			}
		}
		wait(t, vm, serving)
	})
}
