package images

import (
	"errors"
	"io/fs"
	"syscall"
)

// confine gives err the form in which a stranger may read it: the served name
// and one of the errors of io/fs, or that the file cannot be read now.
func confine(name string, err error) error {
	is := errUnavailable
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

var errUnavailable = errors.New("file cannot be read now")

// confined says one thing and wraps another.
type confined struct{ is, cause error }

func (c *confined) Error() string   { return c.is.Error() }
func (c *confined) Unwrap() []error { return []error{c.is, c.cause} }

// Cause returns what lies behind an error of a Tree, for the log of the host
// and nobody else; err itself where there is nothing more to say.
func Cause(err error) error {
	var c *confined
	if errors.As(err, &c) {
		return c.cause
	}
	return err
}
