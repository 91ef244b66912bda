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

// The main job by BIOS, from an appliance that is firmware itself, with a power
// cut while flashing. The next power-on finishes the job. The one after that
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
	mustStart(t, appliance, err)
	disk := filepath.Join(b.dir, "disk.raw")
	if err := lab.BlankDisk(disk, 512<<20); err != nil {
		t.Fatal(err)
	}
	device := b.machine(t.Context(), disk)
	device.CPUs = flashCPUs
	m, err := lab.Start(t.Context(), device)
	mustStart(t, m, err)
	wait(t, m, `ftp +\[##+\.`)
	m.Kill()

	m, err = lab.Start(t.Context(), device)
	mustStart(t, m, err)
	wait(t, m, `bootlace: done: `)
	wait(t, appliance, `"kind":"done"`)
	wait(t, m, `flashed system: up from /dev/vda`)
	hasLine(t, m, `Booting from SAN device 0x80`)
	hasLine(t, appliance, `ftp carried lab.raw.zst`)
}

// flashCPUs is the number of processors of a machine that unpacks a system's
// image. Emulated, that is work for both processors of a small host.
const flashCPUs = 2

// An appliance that is firmware asks for an address if its config has none.
func TestQEMUAddress(t *testing.T) {
	b := need(t, applianceBoard, "")
	l := newLAN(t, lanConfig)
	l.serving(t)
	disk := filepath.Join(t.TempDir(), "bootlace.raw")
	if err := (lab.Volume{Config: "log: json\n"}).Make(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: "appliance", Board: b,
		Kernel:  filepath.Join(made.server, b.File(board.Kernel)),
		Initrd:  filepath.Join(made.server, b.File(board.Initramfs)),
		Cmdline: b.CommandLine(),
		NICs:    []lab.NIC{{End: l.end, MAC: applianceMAC}},
		Disks:   []lab.Disk{{Path: disk, Serial: "STORE"}},
	})
	mustStart(t, vm, err)
	wait(t, vm, `bootlace: eth0 has 10\.77\.0\.1\d\d/24 from 10\.77\.0\.1 `)
	wait(t, vm, `"msg":"serving".*"dhcp":"proxy".*"address":"10\.77\.0\.1\d\d"`)
}

// need returns a board. It skips the test if this host cannot start it.
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

// mustStart kills the machine after the test, and prints its console if the test
// failed.
func mustStart(t *testing.T, vm *lab.VM, err error) {
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

// patience is a hang guard for the next thing that a machine does. On an idle
// host of two cores nothing takes half a minute.
const patience = 20 * time.Minute

// wait waits for a line on the console, after the last one that was waited for.
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

// hasLine checks that the console has a line, wherever it stands.
func hasLine(t *testing.T, vm *lab.VM, pattern string) {
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
