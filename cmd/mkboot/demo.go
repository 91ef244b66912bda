package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/images"
)

// demoImage is the image's name under the appliance's root.
const demoImage = "lab.raw.zst"

const demoProfile = `images: {lab: {file: ` + demoImage + `}}
profiles:
  - name: demo
    match: {mac: ["` + machineMAC + `"]}
    action: flash
    image: lab
    on_failure: wait
    then: reboot
`

// demoTime is a hang guard. The demo takes below two minutes on two idle cores.
const demoTime = 10 * time.Minute

// demo flashes a blank machine over the network from an appliance, both in
// QEMU, and prints what happens.
func demo(ctx context.Context, args []string) error {
	var image, root, work string
	var uefi bool
	var memory int
	var limit time.Duration
	fs := newFlags("demo")
	fs.BoolVar(&uefi, "uefi", false, "start the machine by UEFI, not by BIOS")
	fs.StringVar(&image, "image", "", "disk image `FILE`, as scripts/diskimage makes it")
	fs.StringVar(&root, "root", "", "`DIR` with firmware that mkboot build made")
	fs.StringVar(&work, "work", "", "`DIR` for disks and logs, kept; a short path")
	fs.IntVar(&memory, "memory", 0, "the machine's memory in `MiB`")
	fs.DurationVar(&limit, "timeout", demoTime, "give up after this `time`")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 0 || image == "" || root == "" {
		return fmt.Errorf("%w: --image FILE and --root DIR, and no more than flags", errUsage)
	}
	dir, done, err := workDir(work)
	if err != nil {
		return err
	}
	defer done()
	firmware := lab.BIOS
	if uefi {
		firmware = lab.UEFI
	}
	t, err := newTestbed(board.Boards[0].Name, dir, firmware)
	if err != nil {
		return err
	}
	t.root = root
	if err := t.hasFirmware(); err != nil {
		return err
	}
	if err := t.buildServer(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("time is up after %v", limit))
	defer cancel()
	return t.demo(ctx, image, memory)
}

// demo makes the disks, runs both machines, and prints the table of steps.
func (t *testbed) demo(ctx context.Context, image string, memory int) error {
	fmt.Printf("making the manifest of %s\n", filepath.Base(image))
	manifest, m, err := images.Add(ctx, image)
	if err != nil {
		return err
	}
	volume := lab.Volume{
		Config: testbedConfig + demoProfile,
		Files:  map[string]string{demoImage: image, demoImage + images.ManifestSuffix: manifest},
	}
	for _, name := range []string{board.Kernel, board.Initramfs, board.UKI} {
		volume.Files[t.board.File(name)] = filepath.Join(t.root, t.board.File(name))
	}
	disk := filepath.Join(t.dir, "disk.raw")
	if err := lab.BlankDisk(disk, 2*m.Raw.Size); err != nil {
		return err
	}
	os.Remove(filepath.Join(t.dir, "vars.fd")) // of an earlier demo
	steps := newTimeline(t.board, demoImage, m)
	err = t.flash(ctx, steps, volume, disk, memory)
	fmt.Println()
	steps.table(os.Stdout)
	if missing := steps.missing(); missing != nil {
		return errors.Join(err, missing)
	}
	if err == nil {
		fmt.Println("the flashed system is up, and FTP carried the image")
	}
	return err
}

// flash runs both machines until the timeline has ended. All times, on both
// consoles and in the timeline, count from the moment at which the appliance
// was turned on.
func (t *testbed) flash(ctx context.Context, steps *timeline, volume lab.Volume, disk string, memory int) error {
	ctx, cancel := context.WithCancel(ctx)
	show, err := newConsoles(os.Stdout, t.dir)
	if err != nil {
		cancel()
		return err
	}
	defer show.closeLogs()
	appliance, err := t.appliance(ctx, volume, func(l lab.Line) {
		show.line("appliance", l.At, l.Text)
		if ev, ok := journal.ParseLine([]byte(l.Text)); ok {
			steps.event(l.At, ev)
		}
	})
	if err != nil {
		cancel()
		return err
	}
	defer func() { cancel(); <-appliance.Ended() }()
	m := t.machine(ctx, disk)
	m.Memory = memory
	powerOn := time.Since(appliance.Started())
	m.Console = func(l lab.Line) {
		at := powerOn + l.At
		show.line("machine", at, l.Text)
		steps.line(at, l.Text)
	}
	steps.powerOn(powerOn)
	machine, err := lab.Start(ctx, m)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-machine.Ended() }()
	select {
	case <-steps.end:
		return nil
	case <-machine.Ended():
		return fmt.Errorf("the machine ended: %v", machine.Err())
	case <-appliance.Ended():
		return fmt.Errorf("the appliance ended: %v", appliance.Err())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
