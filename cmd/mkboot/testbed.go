package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
)

// The private link of `mkboot run` and `mkboot demo`.
const (
	applianceAddr = "10.77.0.1/24"
	machinePool   = "10.77.0.100-10.77.0.199"
	applianceMAC  = "52:54:00:b0:07:01"
	machineMAC    = "52:54:00:b0:07:02"
	machineSerial = "LAB0001"
)

// testbedConfig begins the appliance's bootlace.yaml. Profiles follow.
const testbedConfig = `address: ` + applianceAddr + `
log: json
dhcp:
  mode: full
  subnets: [{net: 10.77.0.0/24, pool: ` + machinePool + `, lease: 1h}]
`

// applianceBoard is the board of a testbed's appliance.
const applianceBoard = "qemu-x86_64"

// A testbed is an appliance, which runs as firmware, and one machine. Both are
// in QEMU, on a link of their own.
type testbed struct {
	board    *board.Board
	firmware lab.Firmware
	root     string // holds firmware/<board>/ of the machine
	dir      string // holds disks and sockets of both

	server     *board.Board // the appliance's
	serverRoot string       // holds its firmware, with the serving half
}

// newTestbed checks that this host can run both machines. Nothing is made yet.
func newTestbed(name, dir string, firmware lab.Firmware) (*testbed, error) {
	b, ok := board.ByName(name)
	if !ok {
		return nil, fmt.Errorf("%w: no board %q; one of %s", errUsage, name, boardNames())
	}
	server, ok := board.ByName(applianceBoard)
	if !ok {
		return nil, fmt.Errorf("no board %s for the appliance", applianceBoard)
	}
	if err := lab.Missing(b, firmware); err != nil {
		return nil, err
	}
	if err := lab.Missing(server, ""); err != nil {
		return nil, fmt.Errorf("run the appliance: %w", err)
	}
	if err := lab.MissingForVolume(); err != nil {
		return nil, fmt.Errorf("run the appliance: %w", err)
	}
	return &testbed{
		board: b, firmware: firmware, dir: dir,
		server: server, serverRoot: filepath.Join(dir, "appliance"),
	}, nil
}

// hasFirmware checks that the root holds the machine's firmware. The kernel
// alone counts: one of `mkboot kernel` has the initramfs inside.
func (t *testbed) hasFirmware() error {
	if _, err := os.Stat(filepath.Join(t.root, t.board.File(board.Kernel))); err != nil {
		return fmt.Errorf("%s is not there; `mkboot build %s -o %s` makes it: %w", t.board.File(board.Kernel), t.board.Name, t.root, err)
	}
	return nil
}

// buildServer makes the appliance's firmware.
func (t *testbed) buildServer(ctx context.Context) error {
	return buildFor(ctx, t.serverRoot, true, t.server)
}

// serveTime bounds an appliance's start. On an idle host it takes 10 s.
const serveTime = 5 * time.Minute

// servingLine is what an appliance logs when its ports are open.
var servingLine = regexp.MustCompile(`"msg":"serving"`)

// appliance makes the BOOTLACE disk, turns the appliance on and waits until it
// serves. A machine that asks too early may go on to its disk.
func (t *testbed) appliance(ctx context.Context, volume lab.Volume, console func(lab.Line)) (*lab.VM, error) {
	disk := filepath.Join(t.dir, "bootlace.raw")
	if err := volume.Make(ctx, disk); err != nil {
		return nil, err
	}
	end, _ := lab.Link(t.dir)
	vm, err := lab.Start(ctx, lab.Machine{
		Name: "appliance", Board: t.server,
		Kernel:  filepath.Join(t.serverRoot, t.server.File(board.Kernel)),
		Initrd:  filepath.Join(t.serverRoot, t.server.File(board.Initramfs)),
		Cmdline: t.server.CommandLine() + " quiet bootlace.action=serve bootlace.console=ttyS0",
		NICs:    []lab.NIC{{End: end, MAC: applianceMAC}},
		Disks:   []lab.Disk{{Path: disk, Serial: "STORE"}},
		Console: console,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, serveTime, fmt.Errorf("it does not serve after %v", serveTime))
	defer cancel()
	if _, err := vm.WaitFor(ctx, servingLine); err != nil {
		vm.Stop()
		return nil, err
	}
	return vm, nil
}

// machine describes the machine: it boots from the network first, then from its
// disk. Its link has IPv6 until ctx ends, so that iPXE does not wait for it.
func (t *testbed) machine(ctx context.Context, disk string) lab.Machine {
	_, end := lab.Link(t.dir)
	go end.Advertise(ctx)
	return lab.Machine{
		Name: "machine", Board: t.board, Firmware: t.firmware,
		Vars:  filepath.Join(t.dir, "vars.fd"),
		NICs:  []lab.NIC{{End: end, MAC: machineMAC, BootIndex: 1}},
		Disks: []lab.Disk{{Path: disk, Serial: machineSerial, BootIndex: 2}},
	}
}

// workDir returns a folder. If name is "" it is a new one that done removes.
func workDir(name string) (dir string, done func(), err error) {
	if name != "" {
		return name, func() {}, os.MkdirAll(name, 0o755)
	}
	dir, err = os.MkdirTemp("", "mkboot")
	return dir, func() { os.RemoveAll(dir) }, err
}
