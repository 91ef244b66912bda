package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// A Client is who asks for a file.
type Client struct {
	Addr netip.Addr // unmapped; the zero Addr at the unix socket
	User string     // "": nobody in particular, anonymous
	Via  string     // the protocol, a name of boot.Protocols; "": the appliance itself
}

// A Maker makes files on the fly. name is clean. fs.ErrNotExist says that it
// makes none of that name.
type Maker func(ctx context.Context, c Client, name string) ([]byte, error)

// Made is what a Tree serves beside the files of its folder. Each may be nil.
type Made struct {
	// Before is asked before the folder: no file can stand in for these.
	Before Maker
	// Elsewhere names the files of the folder that stand for one that is not
	// in it, in order. name is clean. It is asked before After.
	Elsewhere func(ctx context.Context, c Client, name string) []string
	// After is asked last: a file of the folder goes before these.
	After Maker
}

// A Tree is the files that strangers may read: those of one folder, confined
// by an os.Root, and those that are Made. Names that start with a dot are not
// in it, nor is anything but regular files and folders. Symbolic links work
// while they stay inside and are relative.
//
// Errors are *fs.PathError with the name as it was asked for. Their text has
// no host path and nothing of the operating system. Cause has that for a log.
//
// A Tree is safe for use by several goroutines.
type Tree struct {
	root *os.Root
	made Made
	note func(Client, boot.Event)

	looks  atomic.Int64
	counts sync.Map // of *Count, by Client.Via
}

// OpenTree opens the folder. note is told of each file that went out or did
// not, by Done; it may be nil.
func OpenTree(dir string, made Made, note func(Client, boot.Event)) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if note == nil {
		note = func(Client, boot.Event) {}
	}
	return &Tree{root: root, made: made, note: note}, nil
}

// Close closes the folder; files that are open stay so.
func (t *Tree) Close() error { return t.root.Close() }

// Looks is how often the folder was asked for a file, a name or a listing.
func (t *Tree) Looks() int64 { return t.looks.Load() }

// Open opens a regular or made file. It never blocks on a pipe or a device.
// A folder, a device or a pipe gives fs.ErrPermission.
func (t *Tree) Open(ctx context.Context, c Client, name string) (*File, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	f, err := t.find(ctx, c, clean)
	if err != nil {
		return nil, confine(clean, err)
	}
	return f, nil
}

// find asks each place for a clean name, in the order of Made. Its errors are
// the host's.
func (t *Tree) find(ctx context.Context, c Client, clean string) (*File, error) {
	f, err := makeFile(ctx, t.made.Before, c, clean)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = t.stored(clean)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if t.made.Elsewhere != nil {
		for _, other := range t.made.Elsewhere(ctx, c, clean) {
			if f, err := t.stored(other); err == nil {
				return f, nil
			}
		}
	}
	f, madeErr := makeFile(ctx, t.made.After, c, clean)
	if errors.Is(madeErr, fs.ErrNotExist) {
		return nil, err // why the folder refused it, not that nothing made it
	}
	return f, madeErr
}

func makeFile(ctx context.Context, m Maker, c Client, clean string) (*File, error) {
	if m == nil {
		return nil, fs.ErrNotExist
	}
	data, err := m(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	return &File{name: clean, SectionReader: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}, nil
}

func (t *Tree) stored(clean string) (*File, error) {
	t.looks.Add(1)
	// Opening a device can do things, so look first. O_NONBLOCK and the second
	// look are for a name that changes in between.
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
	t.looks.Add(1)
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
func (t *Tree) Stat(ctx context.Context, c Client, name string) (fs.FileInfo, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	f, err := t.Open(ctx, c, name)
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
// open, sorted by name. Links show what they lead to. Made files are not listed.
func (t *Tree) ReadDir(_ context.Context, _ Client, name string) ([]fs.DirEntry, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	t.looks.Add(1)
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
