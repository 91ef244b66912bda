//go:build qemu

package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/images"
)

// The main job by BIOS from an appliance that is firmware itself, with a power
// cut in mid-flash: the next power-on finishes the job, and the one after that
// boots from the disk although the network comes first.
func TestQEMUFlashBIOS(t *testing.T) {
	need(t, systemBoard, lab.BIOS)
	prepare(t)
	b, err := newTestbed(systemBoard, t.TempDir(), lab.BIOS)
	if err != nil {
		t.Fatal(err)
	}
	b.root, b.serverRoot = made.root, made.server
	volume := lab.Volume{Config: testbedConfig + demoProfile, Files: map[string]string{}}
	for _, name := range []string{demoImage, demoImage + images.ManifestSuffix, b.board.File(board.Kernel), b.board.File(board.Initramfs)} {
		volume.Files[name] = filepath.Join(made.root, name)
	}
	appliance, err := b.appliance(t.Context(), volume, nil)
	started(t, appliance, err)
	disk := filepath.Join(b.dir, "disk.raw")
	if err := lab.BlankDisk(disk, 512<<20); err != nil {
		t.Fatal(err)
	}
	device := b.machine(t.Context(), disk)
	device.CPUs = flashCPUs
	m, err := lab.Start(t.Context(), device)
	started(t, m, err)
	wait(t, m, `ftp +\[##+\.`)
	m.Kill()

	m, err = lab.Start(t.Context(), device)
	started(t, m, err)
	wait(t, m, `bootlace: done: `)
	wait(t, appliance, `"kind":"done"`)
	wait(t, m, `flashed system: up from /dev/vda`)
	said(t, m, `Booting from SAN device 0x80`)
	said(t, appliance, `ftp carried lab.raw.zst`)
}

// flashCPUs is what a machine has that unpacks a system's image, which in an
// emulated one is work for both processors of a small host.
const flashCPUs = 2

// An appliance that is firmware and whose config has no address asks for one.
func TestQEMUAddress(t *testing.T) {
	b := need(t, applianceBoard, "")
	l := newLAN(t, lanConfig)
	l.serving(t)
	store := filepath.Join(t.TempDir(), "bootlace.raw")
	if err := (lab.Volume{Config: "log: json\n"}).Make(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: "appliance", Board: b,
		Kernel:  filepath.Join(made.server, b.File(board.Kernel)),
		Initrd:  filepath.Join(made.server, b.File(board.Initramfs)),
		Cmdline: b.CommandLine(),
		NICs:    []lab.NIC{{End: l.end, MAC: applianceMAC}},
		Disks:   []lab.Disk{{Path: store, Serial: "STORE"}},
	})
	started(t, vm, err)
	wait(t, vm, `bootlace: eth0 has 10\.77\.0\.1\d\d/24 from 10\.77\.0\.1 `)
	wait(t, vm, `"msg":"serving".*"dhcp":"proxy".*"address":"10\.77\.0\.1\d\d"`)
}

// need returns a board, where this host can start it with a firmware.
func need(t *testing.T, name string, f lab.Firmware) *board.Board {
	t.Helper()
	b, ok := board.ByName(name)
	if !ok {
		t.Fatalf("no board %s", name)
	}
	if err := lab.Missing(b, f); err != nil {
		nettest.Skip(t, err.Error())
	}
	return b
}

// started sees to a machine's end, and to what it said where the test failed.
func started(t *testing.T, vm *lab.VM, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Kill()
		if !t.Failed() {
			return
		}
		for _, l := range vm.Lines() {
			t.Logf("%s %6.1f %s", vm.Name, l.At.Seconds(), l.Text)
		}
	})
}

// patience bounds the wait for the next thing that a machine does. None takes
// half a minute on an idle host of two cores; one where ten processes want
// them is no reason to fail.
const patience = 10 * time.Minute

// wait waits for a line on the console, behind the last one that was waited for.
func wait(t *testing.T, vm *lab.VM, pattern string) lab.Line {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := vm.WaitFor(ctx, regexp.MustCompile(pattern))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %6.1f %s", vm.Name, line.At.Seconds(), line.Text)
	return line
}

// said checks for a line that may stand anywhere.
func said(t *testing.T, vm *lab.VM, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var all []string
	for _, l := range vm.Lines() {
		if re.MatchString(l.Text) {
			return
		}
		all = append(all, l.Text)
	}
	t.Errorf("%s did not say %q:\n%s", vm.Name, pattern, strings.Join(all, "\n"))
}
