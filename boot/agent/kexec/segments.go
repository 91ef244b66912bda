package kexec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"github.com/u-root/u-root/pkg/dt"
	"golang.org/x/sys/unix"
)

// fdtFile is the device tree that this kernel was started with. With ACPI,
// Linux's EFI stub made it. Then it has no more than the way to EFI's tables.
const fdtFile = "/sys/firmware/fdt"

// loadSegments does by kexec_load(2) what kexec_file_load(2) does on arm64.
// Kernels lack the latter, as Debian's do. An error of the call is returned as
// it is, a unix.Errno.
//
// u-root's linux.KexecLoad would copy both files. It also knows of memory by the
// device tree alone. That says nothing of memory with ACPI, and not what EFI
// keeps.
func loadSegments(kernel, initrd *os.File, cmdline string) error {
	// Read whole: one read of a file in sysfs ends at a page, which dt does not expect.
	raw, err := os.ReadFile(fdtFile)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: this kernel has no device tree to hand on; one from the boot loader would help, or EFI firmware", ErrUnsupported)
	}
	if err != nil {
		return err
	}
	tree, err := dt.ReadFDT(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("device tree: %w", err)
	}
	memory, err := kexec.MemoryMapFromIOMem()
	if err != nil {
		return err
	}
	k, err := mapFile(kernel)
	if err != nil {
		return err
	}
	defer unix.Munmap(k)
	var i []byte
	if initrd != nil {
		if i, err = mapFile(initrd); err != nil {
			return err
		}
		defer unix.Munmap(i)
	}
	entry, segments, err := layout(memory, tree, k, i, cmdline)
	if err != nil {
		return err
	}
	return kexecLoad(entry, segments)
}

// mapFile returns the content of a file. It takes no memory where the file is in
// tmpfs.
func mapFile(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() == 0 {
		return nil, fmt.Errorf("%s is empty", fi.Name())
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", fi.Name(), err)
	}
	return b, nil
}

// kexecLoad is kexec_load(2), whose segments are whole pages. kexec.Load of
// u-root would make copies to that end.
func kexecLoad(entry uintptr, segments []kexec.Segment) error {
	type segment struct { // struct kexec_segment of linux/kexec.h
		buf   *byte
		bufsz uintptr
		mem   uintptr
		memsz uintptr
	}
	var s []segment
	for _, from := range segments {
		s = append(s, segment{&from.Buf[0], uintptr(len(from.Buf)), from.Phys.Start, uintptr(from.Phys.Size)})
	}
	const flags = 0 // KEXEC_ARCH_DEFAULT
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, entry, uintptr(len(s)), uintptr(unsafe.Pointer(&s[0])), flags, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// places are where things will lie in physical memory.
type places struct {
	memory   kexec.MemoryMap // what is still free is kexec.RangeRAM
	segments []kexec.Segment
}

// add finds the lowest place for content and the zeros behind it, size bytes in
// all. The place starts offset bytes behind a multiple of align. It lies between
// the addresses from and to.
func (p *places) add(what string, content []byte, size, align, offset, from, to uint64) (start uint64, err error) {
	page := uint64(os.Getpagesize())
	align = max(align, page)
	size = up(max(size, uint64(len(content))), page)
	for _, r := range p.memory.RAM() {
		start := up(max(uint64(r.Start), from, offset)-offset, align) + offset
		end := min(uint64(r.End()), to)
		if start > end || size > end-start {
			continue
		}
		phys := kexec.Range{Start: uintptr(start), Size: uint(size)}
		p.memory.Insert(kexec.TypedRange{Range: phys, Type: kexec.RangeReserved})
		p.segments = append(p.segments, kexec.NewSegment(content, phys))
		return start, nil
	}
	return 0, fmt.Errorf("no place for %s: it needs %d MiB of memory in one piece that nothing lay in when this kernel started", what, up(size, 1<<20)>>20)
}

// up rounds n up to a multiple of a power of 2.
func up(n, multiple uint64) uint64 { return (n + multiple - 1) &^ (multiple - 1) }
