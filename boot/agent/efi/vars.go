package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Vars are the global variables of the firmware. They are read and written
// through an efivarfs mounted at this folder (Linux,
// Documentation/filesystems/efivarfs.rst).
type Vars string

// Default is where Linux mounts it.
const Default Vars = "/sys/firmware/efi/efivars"

// global is EFI_GLOBAL_VARIABLE (UEFI 2.10 section 3.3), as file names have it.
const global = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// attributes of Boot#### and BootNext: they stay over a reset. Boot services and
// programs at run time see them (UEFI 2.10 section 8.2.1).
const attributes = 0x1 | 0x2 | 0x4

// immutable is FS_IMMUTABLE_FL of Linux's uapi/linux/fs.h.
const immutable = 0x10

// maxVar bounds what is read of a variable. Firmware itself has some 64 KiB for
// all.
const maxVar = 64 << 10

// ErrUnavailable: the machine was not started by UEFI, or its variables cannot be had.
var ErrUnavailable = errors.New("no EFI variables: the machine was not started by UEFI, or its firmware keeps none")

// get returns the value of a variable. The error is fs.ErrNotExist where it is
// not set.
func (v Vars) get(name string) ([]byte, error) {
	f, err := os.Open(v.file(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, errors.Unwrap(err))
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxVar+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(raw) == 0: // deleted while the file was kept open
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	case len(raw) < 4 || len(raw) > maxVar:
		return nil, fmt.Errorf("read %s: %d bytes", name, len(raw))
	}
	return raw[4:], nil // behind the attributes
}

// set writes a variable and reads it back. Some firmware takes a write and keeps
// nothing.
func (v Vars) set(name string, value []byte) error {
	restore := v.mutable(name)
	defer restore()
	// One write is one SetVariable, so no truncation before it.
	f, err := os.OpenFile(v.file(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Unwrap(err))
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint32(nil, attributes), value...))
	if err = errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("write %s: the firmware's variable store is full", name)
		}
		return fmt.Errorf("write %s: %w", name, err)
	}
	got, err := v.get(name)
	if err == nil && string(got) != string(value) {
		err = fmt.Errorf("write %s: the firmware did not keep it", name)
	}
	return err
}

// mutable takes the immutable flag from a variable's file, and returns what puts
// it back. efivarfs saves the file by it from rm -rf.
func (v Vars) mutable(name string) (restore func()) {
	restore = func() {}
	f, err := os.Open(v.file(name))
	if err != nil {
		return restore // it is not there yet
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return restore
	}
	if unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable) != nil {
		return restore // opening it for writing will say why
	}
	return func() {
		if f, err := os.Open(v.file(name)); err == nil {
			unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
			f.Close()
		}
	}
}

// options lists the numbers of the Boot#### variables, in order.
func (v Vars) options() ([]uint16, error) {
	names, err := os.ReadDir(string(v)) // sorted, and the numbers are upper-case hex of one length
	if err != nil {
		return nil, fmt.Errorf("list variables: %w", errors.Unwrap(err))
	}
	var nums []uint16
	for _, n := range names {
		var num uint16
		name, ok := strings.CutSuffix(n.Name(), global)
		if !ok || len(name) != 8 {
			continue
		}
		if _, err := fmt.Sscanf(name, "Boot%04X", &num); err == nil && name == option(num) {
			nums = append(nums, num)
		}
	}
	return nums, nil
}

// option names a Boot#### variable.
func option(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

func (v Vars) file(name string) string { return filepath.Join(string(v), name+global) }
