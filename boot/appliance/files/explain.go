package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// A Refusal is why a client does not get a file. Its text says nothing about
// the host, so anybody may read it. Each server maps it to a code of its
// protocol.
type Refusal struct{ text string }

func (r *Refusal) Error() string { return r.text }

// The refusals.
var (
	NoFile     = &Refusal{"no such file"}
	NoName     = &Refusal{"no name of a file"}
	NotServed  = &Refusal{"not a file that is served"} // a folder, a device or plan/
	Unreadable = &Refusal{"file cannot be read now"}
)

// Explain returns the refusal for an error of a Tree.
func Explain(err error) *Refusal {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NoFile
	case errors.Is(err, fs.ErrInvalid):
		return NoName
	case errors.Is(err, fs.ErrPermission):
		return NotServed
	}
	return Unreadable
}

// confine returns err in a form that anybody may read. It has the served name
// and one of the errors of io/fs, or Unreadable.
func confine(name string, err error) error {
	var shown error = Unreadable
	var errno syscall.Errno
	switch errors.As(err, &errno); {
	case errors.Is(err, fs.ErrNotExist), errno == syscall.ENOTDIR, errno == syscall.ENAMETOOLONG, errno == syscall.ELOOP:
		shown = fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission), errno == syscall.EISDIR, errors.Is(err, errNotRegular):
		shown = fs.ErrPermission
	case errors.Is(err, fs.ErrInvalid):
		shown = fs.ErrInvalid
	case errors.Is(err, fs.ErrClosed):
	case errno == 0 && isPathError(err):
		shown = fs.ErrNotExist // os.Root's "path escapes from parent", which has no sentinel
	}
	return &fs.PathError{Op: "open", Path: name, Err: &confined{shown, err}}
}

func isPathError(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe)
}

// A confined error has the text of one error and wraps two.
type confined struct{ shown, cause error }

func (c *confined) Error() string   { return c.shown.Error() }
func (c *confined) Unwrap() []error { return []error{c.shown, c.cause} }

// Cause returns the error behind one of a Tree, for our own log only. If there
// is none it returns err.
func Cause(err error) error {
	var c *confined
	if errors.As(err, &c) {
		return c.cause
	}
	return err
}

// pathless removes the host's path from an error. The journal shows errors of
// uploads, and anybody can read it.
func pathless(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}
