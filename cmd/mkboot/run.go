package main

import (
	"context"
	"flag"
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

// benchConfig starts an appliance's bootlace.yaml; profiles follow.
const benchConfig = `address: ` + applianceAddr + `
log: json
dhcp:
  mode: full
  subnets: [{net: 10.77.0.0/24, pool: ` + machinePool + `, lease: 1h}]
`

// applianceBoard is what the appliance of a bench is.
const applianceBoard = "qemu-x86_64"

// A bench is an appliance that runs as firmware and one machine, on a link of
// their own. Everything is in dir.
type bench struct {
	board    *board.Board
	firmware lab.Firmware
	root     string // holds firmware/<board>/
	dir      string

	server     *board.Board // what the appliance is
	serverRoot string       // holds its firmware, with the serving half
}

// serveTime bounds an appliance's start, of which 10 s are usual on a host that
// has little else to do.
const serveTime = 5 * time.Minute

// appliance makes its store disk, turns it on and waits until it serves: a
// machine that asks too early may go on to its disk.
func (b *bench) appliance(ctx context.Context, store lab.Store, console func(lab.Line)) (*lab.VM, error) {
	disk := filepath.Join(b.dir, "store.raw")
	if err := store.Make(ctx, disk); err != nil {
		return nil, err
	}
	end, _ := lab.Link(b.dir)
	vm, err := lab.Start(ctx, lab.Machine{
		Name: "appliance", Board: b.server,
		Kernel:  filepath.Join(b.serverRoot, b.server.File(board.Kernel)),
		Initrd:  filepath.Join(b.serverRoot, b.server.File(board.Initramfs)),
		Cmdline: b.server.CommandLine() + " quiet bootlace.action=serve bootlace.console=ttyS0",
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

// servingLine is what an appliance logs when its ports are open.
var servingLine = regexp.MustCompile(`"msg":"serving"`)

// machine describes the device: the network first, then its disk. Its link has
// IPv6 until ctx ends, so that iPXE does not wait for it.
func (b *bench) machine(ctx context.Context, disk string) lab.Machine {
	_, end := lab.Link(b.dir)
	go end.Advertise(ctx)
	return lab.Machine{
		Name: "machine", Board: b.board, Firmware: b.firmware,
		Vars:  filepath.Join(b.dir, "vars.fd"),
		NICs:  []lab.NIC{{End: end, MAC: machineMAC, BootIndex: 1}},
		Disks: []lab.Disk{{Path: disk, Serial: machineSerial, BootIndex: 2}},
	}
}

// newBench checks what it needs before anything is started.
func newBench(name, root, dir string, firmware lab.Firmware) (*bench, error) {
	b, ok := board.ByName(name)
	if !ok {
		return nil, fmt.Errorf("%w: no board %q; one of %s", errUsage, name, boardNames())
	}
	if err := lab.Missing(b, firmware); err != nil {
		return nil, err
	}
	// A kernel of `mkboot kernel` has the initramfs inside.
	if _, err := os.Stat(filepath.Join(root, b.File(board.Kernel))); err != nil {
		return nil, fmt.Errorf("%s is not there; `mkboot build %s -o %s` makes it: %w", b.File(board.Kernel), name, root, err)
	}
	server, ok := board.ByName(applianceBoard)
	if !ok {
		return nil, fmt.Errorf("no board %s for the appliance", applianceBoard)
	}
	return &bench{
		board: b, firmware: firmware, root: root, dir: dir,
		server: server, serverRoot: filepath.Join(dir, "appliance"),
	}, nil
}

// buildServer makes the appliance's firmware.
func (b *bench) buildServer(ctx context.Context) error {
	return build(ctx, []string{"--serve", "-o", b.serverRoot, b.server.Name})
}

// workDir returns a folder: name, or one that done removes.
func workDir(name string) (dir string, done func(), err error) {
	if name != "" {
		return name, func() {}, os.MkdirAll(name, 0o755)
	}
	dir, err = os.MkdirTemp("", "mkboot")
	return dir, func() { os.RemoveAll(dir) }, err
}

// runBoard boots a machine of a board, with its serial console on the terminal,
// against an appliance that goes with it.
func runBoard(ctx context.Context, args []string) error {
	var root, config, disk, firmware string
	var memory int
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.StringVar(&firmware, "firmware", "", "what the machine starts with: `bios, uefi, http` (UEFI's HTTP Boot) or uboot; without it the board's usual one")
	fs.StringVar(&root, "root", "", "`DIR` to serve, with firmware that mkboot build made; without it that is built now")
	fs.StringVar(&config, "config", "", "`FILE` with profiles and images for the appliance's bootlace.yaml")
	fs.StringVar(&disk, "disk", "", "raw disk `FILE` of the machine; without it a blank one of 1 GiB that is thrown away")
	fs.IntVar(&memory, "memory", 0, "the machine's memory in `MiB`")
	names, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return fmt.Errorf("%w: which board? one of %s", errUsage, boardNames())
	}
	dir, done, err := workDir("")
	if err != nil {
		return err
	}
	defer done()
	if root == "" {
		root = filepath.Join(dir, "root")
		if err := build(ctx, []string{"-o", root, names[0]}); err != nil {
			return err
		}
	}
	b, err := newBench(names[0], root, dir, lab.Firmware(firmware))
	if err != nil {
		return err
	}
	if err := b.buildServer(ctx); err != nil {
		return err
	}
	store := lab.Store{Config: benchConfig, Root: root}
	if config != "" {
		raw, err := os.ReadFile(config)
		if err != nil {
			return err
		}
		store.Config += string(raw)
	}
	if disk == "" {
		disk = filepath.Join(dir, "disk.raw")
		if err := lab.BlankDisk(disk, 1<<30); err != nil {
			return err
		}
	}
	return b.interact(ctx, store, disk, memory)
}

// interact returns when the machine was turned off.
func (b *bench) interact(ctx context.Context, store lab.Store, disk string, memory int) error {
	ctx, cancel := context.WithCancel(ctx)
	log, err := os.OpenFile(filepath.Join(b.dir, "appliance.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		cancel()
		return err
	}
	defer log.Close()
	fmt.Fprintf(os.Stderr, "starting the appliance; its log: %s\n", log.Name())
	appliance, err := b.appliance(ctx, store, func(l lab.Line) { fmt.Fprintln(log, l.Text) })
	if err != nil {
		cancel()
		return err
	}
	// The work folder goes only after both have ended.
	defer func() { cancel(); <-appliance.Ended() }()
	fmt.Fprintln(os.Stderr, "the machine's console follows; ctrl-a x turns it off")
	m := b.machine(ctx, disk)
	m.Memory, m.Stdin, m.Stdout = memory, os.Stdin, os.Stdout
	vm, err := lab.Start(ctx, m)
	if err != nil {
		return err
	}
	select {
	case <-vm.Ended():
		return vm.Err()
	case <-appliance.Ended():
		vm.Stop()
		return fmt.Errorf("the appliance ended before the machine: %v", appliance.Err())
	}
}
