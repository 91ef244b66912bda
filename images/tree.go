package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Clean is the one place where a name from the network is resolved. It gives
// a slash-separated path without a leading slash, "." for the tree's root.
//
// Backslashes are slashes, since firmware and Windows loaders send them, and
// empty or "." elements are dropped (shim asks for "//grubx64.efi"). The error
// is fs.ErrNotExist for a name with an element that starts with a dot, which
// is hidden, and fs.ErrInvalid for "..", control characters, text that is not
// UTF-8, and names longer than Linux has.
func Clean(name string) (string, error) {
	const maxPath, maxName = 4095, 255 // PATH_MAX, NAME_MAX
	if len(name) > maxPath || !utf8.ValidString(name) {
		return "", invalid(name, fs.ErrInvalid)
	}
	var elems []string
	hidden := false
	for e := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		switch {
		case e == "" || e == ".":
			continue
		case e == ".." || len(e) > maxName || strings.ContainsFunc(e, isControl):
			return "", invalid(name, fs.ErrInvalid)
		case e[0] == '.':
			hidden = true
		}
		elems = append(elems, e)
	}
	if hidden {
		return "", invalid(name, fs.ErrNotExist)
	}
	if len(elems) == 0 {
		return ".", nil
	}
	return strings.Join(elems, "/"), nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// invalid shortens the name, which is a stranger's, to what fits a log line.
func invalid(name string, err error) error {
	name = fmt.Sprintf("%.200q", name)
	return &fs.PathError{Op: "open", Path: name[1 : len(name)-1], Err: err}
}

// A Maker makes files on the fly. name is clean; fs.ErrNotExist says that it
// makes none of that name. from is who asks.
type Maker func(name string, from netip.Addr) ([]byte, error)

// A Tree is the files that strangers may read: those of one folder, confined
// by an os.Root, and those that Makers make. Names that start with a dot are
// not in it, nor is anything but regular files and folders. Symbolic links
// work while they stay inside and are relative.
//
// Errors are *fs.PathError with the name as it was asked for. Their text has
// no host path and nothing of the operating system; Cause has that for a log.
type Tree struct {
	root        *os.Root
	first, last Maker

	// Elsewhere, where set, names the files of the folder that stand for one
	// that is not in it, in order; name is clean. It is asked before last.
	Elsewhere func(name string, from netip.Addr) []string
}

// OpenTree opens the folder. first is asked before the folder and last after
// it; either may be nil.
func OpenTree(dir string, first, last Maker) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	none := func(string, netip.Addr) ([]byte, error) { return nil, fs.ErrNotExist }
	if first == nil {
		first = none
	}
	if last == nil {
		last = none
	}
	return &Tree{root: root, first: first, last: last}, nil
}

// Close closes the folder; files that are open stay so.
func (t *Tree) Close() error { return t.root.Close() }

// Open opens a regular or made file. It never blocks on a pipe or a device.
// A folder, a device or a pipe gives fs.ErrPermission.
func (t *Tree) Open(name string, from netip.Addr) (*File, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	f, err := t.made(t.first, clean, from)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = t.stored(clean)
	}
	if errors.Is(err, fs.ErrNotExist) && t.Elsewhere != nil {
		for _, other := range t.Elsewhere(clean, from) {
			if found, err := t.stored(other); err == nil {
				return found, nil
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Why the folder does not have it says more than that last has not.
		made, lastErr := t.made(t.last, clean, from)
		if f = made; lastErr == nil || !errors.Is(lastErr, fs.ErrNotExist) {
			err = lastErr
		}
	}
	if err != nil {
		return nil, confine(clean, err)
	}
	return f, nil
}

func (t *Tree) made(m Maker, clean string, from netip.Addr) (*File, error) {
	data, err := m(clean, from)
	if err != nil {
		return nil, err
	}
	return &File{name: clean, SectionReader: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}, nil
}

func (t *Tree) stored(clean string) (*File, error) {
	// Opening a device can do things, so look first; O_NONBLOCK and the
	// second look are for a name that changes in between.
	info, err := t.root.Stat(clean)
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(clean, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = regular(info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{name: clean, mod: info.ModTime(), os: f, id: identity(info),
		SectionReader: io.NewSectionReader(whole{f, clean, info.Size()}, 0, info.Size())}, nil
}

// Holds reports whether the folder itself has a regular file of that name.
func (t *Tree) Holds(name string) bool {
	clean, err := Clean(name)
	if err != nil {
		return false
	}
	info, err := t.root.Stat(clean)
	return err == nil && regular(info) == nil
}

// identity tells a file from others and from what it was before it was written.
func identity(info fs.FileInfo) any {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	type id struct {
		dev, ino     uint64
		size         int64
		mtime, ctime syscall.Timespec
	}
	return id{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}

func regular(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return syscall.EISDIR
	case !info.Mode().IsRegular():
		return errNotRegular
	}
	return nil
}

var errNotRegular = errors.New("not a regular file")

// Stat tells of a file, made ones too, or a folder.
func (t *Tree) Stat(name string, from netip.Addr) (fs.FileInfo, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	f, err := t.Open(name, from)
	if err == nil {
		defer f.Close()
		return fileInfo{path.Base(clean), f.Size(), f.ModTime()}, nil
	}
	if errors.Is(err, syscall.EISDIR) {
		info, err := t.root.Stat(clean)
		if err != nil {
			return nil, confine(clean, err)
		}
		return info, nil
	}
	return nil, err
}

// fileInfo is what is known of a file without the host's view of it.
type fileInfo struct {
	name string
	size int64
	mod  time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) ModTime() time.Time { return i.mod }
func (i fileInfo) Mode() fs.FileMode  { return 0o444 }
func (i fileInfo) IsDir() bool        { return false }
func (i fileInfo) Sys() any           { return nil }

// ReadDir lists the files and folders of a folder that Open and ReadDir would
// open, sorted by name; links show what they lead to. Made files are not
// listed.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Stat(clean)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, confine(clean, err)
	}
	d, err := t.root.OpenFile(clean, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, confine(clean, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, confine(clean, err)
	}
	slices.Sort(names)
	var list []fs.DirEntry
	for _, n := range names {
		if c, err := Clean(n); err != nil || c != n {
			continue
		}
		// Through the root, so that no link shows what lies outside.
		if info, err := t.root.Stat(path.Join(clean, n)); err == nil && (info.IsDir() || info.Mode().IsRegular()) {
			list = append(list, fs.FileInfoToDirEntry(info))
		}
	}
	return list, nil
}

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
