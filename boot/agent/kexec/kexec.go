package kexec

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/bootlace/bootlace/board"
	"github.com/u-root/u-root/pkg/boot/kexec"
	"golang.org/x/sys/unix"
)

// ErrUnsupported: this kernel or architecture cannot do it at all.
var ErrUnsupported = errors.New("kexec is not possible here")

// Load hands kernel and initrd to the running kernel by kexec_file_load(2).
// Where an arm64 kernel lacks that, it uses kexec_load(2). Both are read-only
// files. In tmpfs they cost memory once, where a buffer would cost it twice.
// initrd may be nil.
func Load(kernel, initrd *os.File, cmdline string) error {
	if err := supported(runtime.GOARCH); err != nil {
		return err
	}
	err := loadFiles(kernel, initrd, cmdline)
	if err == unix.ENOSYS && runtime.GOARCH == segmentsArch {
		err = loadSegments(kernel, initrd, cmdline)
	}
	if err != nil {
		return fmt.Errorf("load kernel: %w", explain(err, runtime.GOARCH))
	}
	return nil
}

// loadFiles is kexec_file_load(2). Its error is that of the call.
func loadFiles(kernel, initrd *os.File, cmdline string) error {
	err := kexec.FileLoad(kernel, initrd, cmdline)
	// u-root's message holds numbers of file descriptors and the whole command line.
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// Copies returns how often kernel and initrd lie in memory at the worst moment
// of Load, where the files are in tmpfs. They lie there, and in the pages from
// which they will run. kexec_file_load(2) also reads them into a buffer.
func Copies() int64 {
	if runtime.GOARCH == segmentsArch && unix.KexecFileLoad(-1, -1, "", 0) == unix.ENOSYS {
		return 2
	}
	return 3
}

// explain says what a system call's error means for kexec.
func explain(err error, goarch string) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	switch errno {
	case unix.ENOSYS:
		return fmt.Errorf("%w: this kernel was built without kexec_file_load%s", ErrUnsupported, map[bool]string{true: " and kexec_load"}[goarch == segmentsArch])
	case unix.EPERM:
		return fmt.Errorf("%w: not allowed, it needs root and a kernel that is not locked down", ErrUnsupported)
	case unix.EBUSY:
		if goarch == "arm64" { // what the kernel calls CPUs that are stuck
			return fmt.Errorf("%w: the machine's own firmware has no way to stop the other processors (PSCI); nr_cpus=1 on the command line of this kernel would help", errno)
		}
	case unix.ENOEXEC:
		return fmt.Errorf("%w: not a kernel for %s", errno, goarch)
	case unix.ENOMEM, unix.EADDRNOTAVAIL:
		return fmt.Errorf("%w: it takes %d times the size of kernel and initrd", errno, Copies())
	}
	return errno
}

// supported says which architectures have a way.
func supported(goarch string) error {
	if a, ok := board.ArchOf(goarch); ok && a.Kexec {
		return nil
	}
	return fmt.Errorf("load kernel: %w: Linux has no kexec_file_load on %s", ErrUnsupported, goarch)
}

// segmentsArch is the architecture that loadSegments has code for. As a constant
// it keeps that code out of the binaries of the others.
const segmentsArch = "arm64"

// Exec starts the kernel that was loaded. It returns only on error.
func Exec() error {
	unix.Sync()
	if err := kexec.Reboot(); err != nil {
		return fmt.Errorf("start kernel: %w", err)
	}
	return nil
}
