// Package kexec starts another kernel in place of this one, without the firmware.
package kexec

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"golang.org/x/sys/unix"
)

// ErrUnsupported: this kernel or architecture cannot do it at all.
var ErrUnsupported = errors.New("kexec is not possible here")

// Load hands kernel and initrd to the running kernel by kexec_file_load(2).
// Both are read-only files; in tmpfs they cost memory once, where a buffer
// would cost it twice. initrd may be nil.
func Load(kernel, initrd *os.File, cmdline string) error {
	if err := supported(runtime.GOARCH); err != nil {
		return err
	}
	err := kexec.FileLoad(kernel, initrd, cmdline)
	// u-root's message holds numbers of file descriptors and the whole command line.
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case unix.ENOSYS:
		return fmt.Errorf("load kernel: %w: this kernel was built without kexec_file_load", ErrUnsupported)
	case unix.EPERM:
		return fmt.Errorf("load kernel: %w: not allowed, it needs root and a kernel that is not locked down", ErrUnsupported)
	case unix.ENOEXEC:
		return fmt.Errorf("load kernel: %w: not a kernel for %s", errno, runtime.GOARCH)
	case unix.ENOMEM, unix.EADDRNOTAVAIL:
		return fmt.Errorf("load kernel: %w: it takes three times the size of kernel and initrd", errno)
	}
	return fmt.Errorf("load kernel: %w", errno)
}

// supported says which architectures have kexec_file_load(2).
func supported(goarch string) error {
	switch goarch {
	case "amd64", "arm64", "riscv64":
		return nil
	}
	return fmt.Errorf("load kernel: %w: Linux has no kexec_file_load on %s", ErrUnsupported, goarch)
}

// Exec starts the kernel that was loaded. It returns only on error.
func Exec() error {
	unix.Sync()
	if err := kexec.Reboot(); err != nil {
		return fmt.Errorf("start kernel: %w", err)
	}
	return nil
}
