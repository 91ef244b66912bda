package files

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A File is an open file of a Tree.
type File struct {
	name string
	mod  time.Time
	os   *os.File
	id   any
	*io.SectionReader
}

// Name is the clean name under which it is served.
func (f *File) Name() string { return f.name }

// ModTime is zero for a file made on the fly.
func (f *File) ModTime() time.Time { return f.mod }

// ID is the same, and comparable, for files that hold the same bytes, as far as
// the file system tells; nil for one made on the fly.
func (f *File) ID() any { return f.id }

// OS is the file itself for sendfile, nil for one made on the fly. Its
// offset is its own.
func (f *File) OS() *os.File { return f.os }

// ReadAtNow reads as far as that needs no disk.
func (f *File) ReadAtNow(p []byte, off int64) (int, error) {
	if f.os == nil {
		return f.ReadAt(p, off)
	}
	return unix.Preadv2(int(f.os.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
}

// Close closes it.
func (f *File) Close() error {
	if f.os == nil {
		return nil
	}
	return f.os.Close()
}

// whole reads a file that must not end before size: one that was cut while it
// is served must not look like a shorter one.
type whole struct {
	f    *os.File
	name string
	size int64
}

func (w whole) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.f.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < w.size {
		err = io.ErrUnexpectedEOF
	} else if err != nil && err != io.EOF {
		err = confine(w.name, err) // it has the path on the host
	}
	return n, err
}
