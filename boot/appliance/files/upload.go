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

// Bounds of the upload folder. Clients cannot fill the disk.
const (
	maxUpload  = 1 << 30 // bytes a file
	maxUploads = 1000    // files
)

// Uploads writes new files into one folder. It never opens an existing one.
type Uploads struct {
	root  *os.Root
	files atomic.Int64
}

// OpenUploads opens the folder, and removes partial files of an earlier run.
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
			err = errors.Join(err, root.Remove(e.Name())) // a partial file of an earlier run
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

// Create creates a file for a client. The error is fs.ErrExist for a name that
// exists. It is fs.ErrPermission for a name with a folder, since none is made
// for a client. It is ENOSPC where the folder has the most files it may have.
// Upload.Write returns EFBIG beyond the largest size.
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
	// The dot marks a partial file.
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
	return &Upload{uploads: u, file: f, part: part, name: name}, nil
}

// An Upload is a file that is being written. It gets its name in Close, if all
// was written.
type Upload struct {
	uploads    *Uploads
	file       *os.File
	part, name string
	written    int64
}

func (w *Upload) Write(p []byte) (int, error) {
	if w.written += int64(len(p)); w.written > maxUpload {
		return 0, syscall.EFBIG
	}
	n, err := w.file.Write(p)
	return n, pathless(err)
}

func (w *Upload) Close() error {
	err := errors.Join(w.file.Sync(), w.file.Close())
	if err == nil {
		// A link, unlike a rename, does not replace an existing file.
		err = w.uploads.root.Link(w.part, w.name)
	}
	rerr := w.uploads.root.Remove(w.part)
	if err != nil {
		w.uploads.files.Add(-1)
	}
	return pathless(errors.Join(err, rerr))
}

// CloseWithError removes an upload that is not whole.
func (w *Upload) CloseWithError(error) error {
	w.uploads.files.Add(-1)
	return pathless(errors.Join(w.file.Close(), w.uploads.root.Remove(w.part)))
}
