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

// A Client is the client that requests a file.
type Client struct {
	Addr netip.Addr // not IPv4-mapped; the zero Addr on the unix socket
	User string     // "" is anonymous
	Via  string     // the protocol's name in boot.Protocols; "" is the appliance itself
}

// A Maker makes files on the fly. name is clean. The error is fs.ErrNotExist
// for a name that it does not make.
type Maker func(ctx context.Context, c Client, name string) ([]byte, error)

// Made has the sources of files that are not in the folder. Each may be nil.
type Made struct {
	// Before is called before the folder is read. No file can replace what it
	// makes.
	Before Maker
	// Elsewhere names files to serve instead of one that the folder lacks, in
	// order. name is clean. It is called before After.
	Elsewhere func(ctx context.Context, c Client, name string) []string
	// After is called last. A file of the folder goes before what it makes.
	After Maker
}

// A Tree serves the files of one folder, confined by an os.Root, and made
// files. It serves only regular files and folders. Names that start with a dot
// are hidden. Symbolic links work if they are relative and stay inside.
//
// Errors are *fs.PathError with the requested name. Their text has no host path
// and nothing of the operating system. Cause returns the error for a log.
//
// A Tree is safe for use by several goroutines.
type Tree struct {
	root *os.Root
	made Made
	note func(Client, boot.Event)

	looks  atomic.Int64
	counts sync.Map // a *Count each, by Client.Via
}

// OpenTree opens the folder. Done calls note for each request; note may be nil.
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

// Close closes the folder. Open files stay open.
func (t *Tree) Close() error { return t.root.Close() }

// Looks returns how often the folder was read: for a file, a name or a listing.
func (t *Tree) Looks() int64 { return t.looks.Load() }

// Open opens a regular or made file. It never blocks on a pipe or a device. A
// folder, a device or a pipe gives fs.ErrPermission.
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

// find looks for a clean name in each place, in the order of Made. Its errors
// may name host paths.
func (t *Tree) find(ctx context.Context, c Client, clean string) (*File, error) {
	f, err := makeFile(ctx, t.made.Before, c, clean)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = t.openStored(clean)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if t.made.Elsewhere != nil {
		for _, other := range t.made.Elsewhere(ctx, c, clean) {
			if f, err := t.openStored(other); err == nil {
				return f, nil
			}
		}
	}
	f, madeErr := makeFile(ctx, t.made.After, c, clean)
	if errors.Is(madeErr, fs.ErrNotExist) {
		return nil, err // the folder's reason, not that no Maker made it
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

func (t *Tree) openStored(clean string) (*File, error) {
	t.looks.Add(1)
	// Opening a device can have effects, so stat first. The name may change
	// before the open. O_NONBLOCK and the second stat are for that.
	info, err := t.root.Stat(clean)
	if err == nil {
		err = checkRegular(info)
	}
	if err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(clean, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = checkRegular(info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{name: clean, mod: info.ModTime(), osFile: f, id: identity(info),
		SectionReader: io.NewSectionReader(fullReader{f, clean, info.Size()}, 0, info.Size())}, nil
}

// Holds reports whether the folder itself has a regular file of that name.
func (t *Tree) Holds(name string) bool {
	clean, err := Clean(name)
	if err != nil {
		return false
	}
	t.looks.Add(1)
	info, err := t.root.Stat(clean)
	return err == nil && checkRegular(info) == nil
}

// identity differs between files, and changes when a file is written.
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

func checkRegular(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return syscall.EISDIR
	case !info.Mode().IsRegular():
		return errNotRegular
	}
	return nil
}

var errNotRegular = errors.New("not a regular file")

// Stat describes a file, a made file or a folder.
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

// fileInfo describes a file without the host's permissions and owner.
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

// ReadDir lists the files and folders in a folder, sorted by name. It lists
// what Open and ReadDir can open, but no made files. A link has the size and
// type of its target.
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
		// The root's Stat refuses links that lead outside.
		if info, err := t.root.Stat(path.Join(clean, n)); err == nil && (info.IsDir() || info.Mode().IsRegular()) {
			list = append(list, fs.FileInfoToDirEntry(info))
		}
	}
	return list, nil
}
