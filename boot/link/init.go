package link

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts is what PID 1 finds missing in an initramfs. The kernel mounts nothing
// there, not even devtmpfs.
var mounts = []struct{ typ, dir, opts string }{
	{"proc", "/proc", ""},
	{"sysfs", "/sys", ""},
	{"devtmpfs", "/dev", "mode=0755"},
	{"tmpfs", "/tmp", "mode=1777"},
	{"tmpfs", "/run", "mode=0755"},
}

// Mount mounts what a program expects to find. It goes on after a failure, so
// that as much as possible works when the errors are shown.
func Mount() error {
	var errs []error
	for _, m := range mounts {
		errs = append(errs, mount(m.typ, m.dir, m.opts))
	}
	return errors.Join(errs...)
}

// MountEFIVars mounts the firmware's variables where the machine was started
// by UEFI. Elsewhere it does nothing. efivarfs may be a module.
func MountEFIVars() error {
	if _, err := os.Stat("/sys/firmware/efi"); err != nil {
		return nil
	}
	return mount("efivarfs", "/sys/firmware/efi/efivars", "")
}

func mount(typ, dir, opts string) error {
	os.MkdirAll(dir, 0o755) // in sysfs it exists or cannot be made
	err := unix.Mount(typ, dir, typ, unix.MS_NOSUID, opts)
	if err != nil && !errors.Is(err, unix.EBUSY) { // EBUSY: mounted there already
		return fmt.Errorf("mount %s on %s: %w", typ, dir, err)
	}
	return nil
}

// Seed blocks until the kernel's random pool is ready. The library of DHCP waits
// for that two minutes a packet, and then gives up.
func Seed() error {
	var b [1]byte
	for {
		_, err := unix.Getrandom(b[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Reboot writes what is buffered and resets the machine. It returns only on error.
func Reboot() error { return stop("reboot", unix.LINUX_REBOOT_CMD_RESTART) }

// Poweroff writes what is buffered and switches the machine off. It returns only on error.
func Poweroff() error { return stop("power off", unix.LINUX_REBOOT_CMD_POWER_OFF) }

func stop(op string, cmd int) error {
	unix.Sync()
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func firstLine(raw []byte) string {
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	return strings.TrimSpace(string(line))
}
