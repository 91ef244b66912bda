package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bootlace/bootlace/board/lab"
)

// runBoard boots a machine of a board against an appliance that goes with it.
// The machine's serial console is on the terminal.
func runBoard(ctx context.Context, args []string) error {
	var root, config, disk, firmware string
	var memory int
	fs := newFlags("run")
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
	t, err := newTestbed(names[0], dir, lab.Firmware(firmware))
	if err != nil {
		return err
	}
	volume := lab.Volume{Config: testbedConfig}
	if config != "" {
		raw, err := os.ReadFile(config)
		if err != nil {
			return err
		}
		volume.Config += string(raw)
	}
	if t.root = root; root == "" {
		t.root = filepath.Join(dir, "root")
		if err := buildFor(ctx, t.root, false, t.board); err != nil {
			return err
		}
	}
	if err := t.hasFirmware(); err != nil {
		return err
	}
	if err := t.buildServer(ctx); err != nil {
		return err
	}
	volume.Root = t.root
	if disk == "" {
		disk = filepath.Join(dir, "disk.raw")
		if err := lab.BlankDisk(disk, 1<<30); err != nil {
			return err
		}
	}
	return t.interact(ctx, volume, disk, memory)
}

// interact runs both machines until the one on the terminal is off.
func (t *testbed) interact(ctx context.Context, volume lab.Volume, disk string, memory int) error {
	ctx, cancel := context.WithCancel(ctx)
	log, err := os.OpenFile(filepath.Join(t.dir, "appliance.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		cancel()
		return err
	}
	defer log.Close()
	fmt.Fprintf(os.Stderr, "starting the appliance; its log: %s\n", log.Name())
	appliance, err := t.appliance(ctx, volume, func(l lab.Line) { fmt.Fprintln(log, l.Text) })
	if err != nil {
		cancel()
		return err
	}
	// The work folder may go only after both have ended.
	defer func() { cancel(); <-appliance.Ended() }()
	fmt.Fprintln(os.Stderr, "the machine's console follows; ctrl-a x turns it off")
	m := t.machine(ctx, disk)
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
