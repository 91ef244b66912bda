package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Device is what an image is written to.
type Device interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error // returns when what was written would survive a power cut
	Size() int64 // bytes
}

// What a Device may have besides. *File has all of it.
type (
	dropper interface{ Drop() error }             // forget caches: the next read asks the medium
	zeroer  interface{ Zero(off, n int64) error } // make a range read as zeros
	reloads interface{ Reload() error }           // read the partition table anew
)

// File is a disk, or an ordinary file that stands for one: its size is fixed.
// What is written goes to the medium soon. So a device with little memory does
// not fill up with pages still to be written.
type File struct {
	f     *os.File
	size  int64
	block bool

	mu     sync.Mutex
	flying []span // being written to the medium, oldest first
}

type span struct{ off, n int64 }

// inFlight bounds what is on its way to the medium. It is enough to keep a disk
// busy, and little beside 96 MiB of memory.
const inFlight = 4

// Open opens a disk for itself alone. One that is mounted, or part of a RAID or
// volume group, is refused. An ordinary file will do as a disk, too.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	flags, block := os.O_RDWR, false
	switch mode := info.Mode(); {
	case mode.IsRegular():
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		// Without O_CREAT it means: nobody else may claim the disk (open(2)).
		flags, block = flags|unix.O_EXCL, true
	default:
		return nil, fmt.Errorf("open disk: %s is neither a disk nor a file", path)
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open disk: %s is mounted or part of something that is in use: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	n, err := f.Seek(0, 2)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open disk: %w", err)
	}
	return &File{f: f, size: n, block: block}, nil
}

// Size returns the disk's bytes.
func (d *File) Size() int64 { return d.size }

// Close closes it.
func (d *File) Close() error { return d.f.Close() }

// ReadAt reads without filling the memory with what was read.
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.f.ReadAt(p, off)
	d.forget(span{off, int64(n)})
	return n, err
}

// WriteAt starts the way of p to the medium. It waits until all but a few of the
// pieces ahead of it have arrived there.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("write at %d: beyond the disk's end", off) // an ordinary file would grow
	}
	n, err := d.f.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, d.push(span{off, int64(n)})
}

func (d *File) push(s span) error {
	if err := d.sync(s, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return err
	}
	d.mu.Lock()
	d.flying = append(d.flying, s)
	var old *span
	if len(d.flying) > inFlight {
		old = &span{d.flying[0].off, d.flying[0].n}
		d.flying = append(d.flying[:0], d.flying[1:]...)
	}
	d.mu.Unlock()
	if old == nil {
		return nil
	}
	err := d.sync(*old, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	d.forget(*old)
	return err
}

// sync_file_range is no promise of durability, which Sync gives. Here it only
// keeps the amount of unwritten pages small. It reports a failed write once, so
// its errors count.
func (d *File) sync(s span, flags int) error {
	err := unix.SyncFileRange(int(d.f.Fd()), s.off, s.n, flags)
	switch err {
	case unix.ENOSYS, unix.ESPIPE, unix.EINVAL:
		return nil // a file system that cannot
	case nil:
		return nil
	}
	return fmt.Errorf("write to the medium: %w", err)
}

func (d *File) forget(s span) {
	unix.Fadvise(int(d.f.Fd()), s.off, s.n, unix.FADV_DONTNEED)
}

// Sync returns when everything is on the medium.
func (d *File) Sync() error {
	d.mu.Lock()
	d.flying = d.flying[:0]
	d.mu.Unlock()
	return d.f.Sync()
}

// Drop forgets what memory holds of the disk. The next read shows what the disk
// holds. Call it after Sync.
func (d *File) Drop() error {
	if d.block {
		// Not all may: then the advice below has to do.
		if err := unix.IoctlSetInt(int(d.f.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("drop caches: %w", err)
		}
	}
	if err := unix.Fadvise(int(d.f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}

// Zero makes a range read as zeros. It uses a command of the disk where there is
// one.
func (d *File) Zero(off, n int64) error {
	const page = 4096 // multiple of any logical block size that is in use
	if d.block && off%page == 0 && n%page == 0 && off+n <= d.size {
		r := [2]uint64{uint64(off), uint64(n)}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&r)))
		if errno == 0 {
			return nil
		}
	}
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

// Reload makes the kernel read the partition table. It tries for a second:
// who watches new disks may have one of its partitions open.
func (d *File) Reload() error {
	if !d.block {
		return nil
	}
	var err error
	for range 5 {
		if err = unix.IoctlSetInt(int(d.f.Fd()), unix.BLKRRPART, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	// A disk that cannot have partitions answers EINVAL.
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("reload partition table: %w", err)
	}
	return nil
}
