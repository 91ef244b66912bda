package tftp

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// An Error is an ERROR packet: what one end tells the other before it ends a
// transfer (RFC 1350 section 7). For errors.Is code 1 is fs.ErrNotExist, 2
// fs.ErrPermission and 6 fs.ErrExist.
type Error struct {
	Code uint16
	Text string // for a person, plain and short
}

func (e *Error) Error() string { return fmt.Sprintf("tftp error %d: %q", e.Code, e.Text) }

// Is lets callers ask for the errors of io/fs.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case CodeNotFound:
		return target == fs.ErrNotExist
	case CodeAccess:
		return target == fs.ErrPermission
	case CodeExists:
		return target == fs.ErrExist
	}
	return false
}

var (
	errUnknownID = &Error{CodeUnknownID, "unknown transfer ID"}
	errIllegal   = &Error{CodeIllegal, "illegal TFTP operation"}
	errMode      = &Error{CodeIllegal, "only octet and netascii are served"}
	errNoUploads = &Error{CodeAccess, "access violation: uploads are off"}
	errStopping  = &Error{CodeUndefined, "server is stopping"}
	errCancelled = &Error{CodeUndefined, "transfer was cancelled"}
)

// wireError is what a network client is told of err. It holds no text of the
// operating system, which could name paths of the host.
func wireError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, fs.ErrNotExist):
		return &Error{CodeNotFound, "file not found"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid):
		return &Error{CodeAccess, "access violation"}
	case errors.Is(err, fs.ErrExist):
		return &Error{CodeExists, "file already exists"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return &Error{CodeDiskFull, "disk full or allocation exceeded"}
	}
	return &Error{CodeUndefined, "transfer failed"}
}

// errSilent ends a transfer whose peer said nothing more.
var errSilent = errors.New("no answer")

// A peerError is an ERROR that the peer sent. It ended the transfer, and the
// peer is not told of that.
type peerError struct{ said *Error }

func (e peerError) Error() string { return "ended by the peer: " + e.said.Error() }

func (e peerError) Unwrap() error { return e.said }
