package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
)

// Bounds of the upload folder, so that strangers cannot fill the disk.
const (
	maxUpload  = 1 << 30 // bytes a file
	maxUploads = 1000    // files
)

// Uploads takes new files into one folder. It never opens one that is there.
type Uploads struct {
	root  *os.Root
	files atomic.Int64
}

// OpenUploads opens the folder, and removes what an earlier run left half-written.
func OpenUploads(dir string) (*Uploads, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	u := &Uploads{root: root}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".part") {
			err = errors.Join(err, root.Remove(e.Name())) // half-written when an earlier run ended
		} else {
			u.files.Add(1)
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return u, nil
}

// Close closes the folder.
func (u *Uploads) Close() error { return u.root.Close() }

// Create makes the file that a client named. Folders in the name are refused,
// since none is made for a stranger. The error is fs.ErrExist for a name that
// is taken, fs.ErrPermission for one with a folder, ENOSPC where there are
// enough files, and EFBIG of a Write behind the largest size.
func (u *Uploads) Create(name string) (*Upload, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, err
	}
	if name != path.Base(name) || name == "." {
		return nil, fs.ErrPermission
	}
	if u.files.Add(1) > maxUploads {
		u.files.Add(-1)
		return nil, syscall.ENOSPC
	}
	// The dot keeps it from being mistaken for a whole file.
	part := "." + name + ".part"
	f, err := u.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		if _, serr := u.root.Lstat(name); serr == nil {
			err = errors.Join(f.Close(), u.root.Remove(part), fs.ErrExist)
		}
	}
	if err != nil {
		u.files.Add(-1)
		return nil, pathless(err)
	}
	return &Upload{u: u, f: f, part: part, name: name}, nil
}

// An Upload becomes visible under its name when Close returned nil.
type Upload struct {
	u          *Uploads
	f          *os.File
	part, name string
	n          int64
}

func (w *Upload) Write(p []byte) (int, error) {
	if w.n += int64(len(p)); w.n > maxUpload {
		return 0, syscall.EFBIG
	}
	n, err := w.f.Write(p)
	return n, pathless(err)
}

func (w *Upload) Close() error {
	err := errors.Join(w.f.Sync(), w.f.Close())
	if err == nil {
		// A link does not replace what came under the same name meanwhile.
		err = w.u.root.Link(w.part, w.name)
	}
	rerr := w.u.root.Remove(w.part)
	if err != nil {
		w.u.files.Add(-1)
	}
	return pathless(errors.Join(err, rerr))
}

// CloseWithError drops an upload that did not arrive whole.
func (w *Upload) CloseWithError(error) error {
	w.u.files.Add(-1)
	return pathless(errors.Join(w.f.Close(), w.u.root.Remove(w.part)))
}
