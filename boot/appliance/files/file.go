package files

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A File is an open file of a Tree.
type File struct {
	name   string
	mod    time.Time
	osFile *os.File
	id     any
	*io.SectionReader
}

// Name is the clean name under which the file is served.
func (f *File) Name() string { return f.name }

// ModTime is zero for a file made on the fly.
func (f *File) ModTime() time.Time { return f.mod }

// ID is comparable, and equal for files with the same bytes. The file system
// tells by inode, size and times. It is nil for a file made on the fly.
func (f *File) ID() any { return f.id }

// OS is the open file, for sendfile. It is nil for a file made on the fly. Its
// offset is apart from that of File.
func (f *File) OS() *os.File { return f.osFile }

// ReadAtNow reads only what is in the page cache, without waiting for a disk.
func (f *File) ReadAtNow(p []byte, off int64) (int, error) {
	if f.osFile == nil {
		return f.ReadAt(p, off)
	}
	return unix.Preadv2(int(f.osFile.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
}

// Close closes the file.
func (f *File) Close() error {
	if f.osFile == nil {
		return nil
	}
	return f.osFile.Close()
}

// fullReader reads a file that must not end before size. A file that is
// truncated while it is served must not look like a shorter one.
type fullReader struct {
	f    *os.File
	name string
	size int64
}

func (w fullReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.f.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < w.size {
		err = io.ErrUnexpectedEOF
	} else if err != nil && err != io.EOF {
		err = confine(w.name, err) // its text has the host's path
	}
	return n, err
}
