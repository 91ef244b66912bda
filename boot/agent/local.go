package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/efi"
	"github.com/bootlace/bootlace/boot/agent/flash"
)

// bootLocal is the outcome of action local: the machine boots from the disk that
// was flashed. Under UEFI that takes BootNext and a reset. A loader's own ways
// to get there end in minutes of timeouts, or in the setup menu. Where BootNext
// cannot be set, the machine returns to its firmware. It pauses before, so that
// it does not spin.
func bootLocal(ctx context.Context, s *Session, p *boot.Plan) error {
	ev := boot.Event{Kind: boot.KindLocal}
	disk, err := s.machine.flashedDisk(p)
	var entry efi.Entry
	if err == nil {
		ev.Disk = disk.Serial
		entry, err = bootNext(disk)
	}
	if err != nil {
		ev.Text = fmt.Sprintf("cannot boot from its disk: %v; it returns to its firmware in %v", err, s.timing.Pause)
		s.Reporter.deliverOrWarn(ctx, ev)
		s.console.say("failed: %s", ev.Text)
		if sleep(ctx, s.timing.Pause); ctx.Err() != nil {
			return ctx.Err()
		}
		return s.reset(boot.Reboot)
	}
	ev.Text = fmt.Sprintf("boots from %s: BootNext is %s", disk, entry)
	s.Reporter.deliverOrWarn(ctx, ev)
	s.console.say("done: %s", ev.Text)
	return s.reset(boot.Reboot)
}

// bootNext makes the firmware boot from a disk at the next reset.
func bootNext(d flash.Disk) (efi.Entry, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return efi.Entry{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // of a device, Stat says 0
	if err != nil {
		return efi.Entry{}, err
	}
	return efi.BootNext(efi.Default, f, size, runtime.GOARCH)
}
