package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// A Refusal is why a client does not get a file. Its text tells nothing of the
// host, so a stranger may read it. Servers map each to a code of their own.
type Refusal struct{ text string }

func (r *Refusal) Error() string { return r.text }

// The refusals.
var (
	NoFile     = &Refusal{"no such file"}
	NoName     = &Refusal{"no name of a file"}
	NotServed  = &Refusal{"not a file that is served"} // a folder, a device, plan/
	Unreadable = &Refusal{"file cannot be read now"}
)

// Explain returns the refusal behind an error of a Tree.
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

// confine gives err the form in which a stranger may read it: the served name
// and one of the errors of io/fs, or that the file cannot be read now.
func confine(name string, err error) error {
	var is error = Unreadable
	var errno syscall.Errno
	switch errors.As(err, &errno); {
	case errors.Is(err, fs.ErrNotExist), errno == syscall.ENOTDIR, errno == syscall.ENAMETOOLONG, errno == syscall.ELOOP:
		is = fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission), errno == syscall.EISDIR, errors.Is(err, errNotRegular):
		is = fs.ErrPermission
	case errors.Is(err, fs.ErrInvalid):
		is = fs.ErrInvalid
	case errors.Is(err, fs.ErrClosed):
	case errno == 0 && isPathError(err):
		is = fs.ErrNotExist // os.Root's "path escapes from parent", which has no value to compare with
	}
	return &fs.PathError{Op: "open", Path: name, Err: &confined{is, err}}
}

func isPathError(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe)
}

// A confined error says one thing and wraps another.
type confined struct{ is, cause error }

func (c *confined) Error() string   { return c.is.Error() }
func (c *confined) Unwrap() []error { return []error{c.is, c.cause} }

// Cause returns what lies behind an error of a Tree, for the log of the host
// and nobody else. Where there is nothing more to say it returns err itself.
func Cause(err error) error {
	var c *confined
	if errors.As(err, &c) {
		return c.cause
	}
	return err
}

// pathless takes the host's path out of an error of a folder. What went wrong
// with an upload stands in the journal, for anyone to read.
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
