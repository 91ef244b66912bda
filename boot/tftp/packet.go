package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// The opcodes of RFC 1350 section 5 and RFC 2347.
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// The error codes of RFC 1350 appendix and RFC 2347.
const (
	CodeUndefined = 0 // see the text
	CodeNotFound  = 1
	CodeAccess    = 2
	CodeDiskFull  = 3
	CodeIllegal   = 4 // illegal TFTP operation
	CodeUnknownID = 5 // unknown transfer ID
	CodeExists    = 6
	CodeNoUser    = 7
	CodeOptions   = 8 // option negotiation was refused
)

const (
	headerLen  = 4    // of DATA, ACK and ERROR: opcode and block number or code
	maxRequest = 1024 // bytes of an RRQ or WRQ; RFC 2347 allows a client 512
	maxText    = 256  // bytes of an error text that are kept or sent
)

// An Error is an ERROR packet: what one end tells the other before it ends a
// transfer. Code 1 is fs.ErrNotExist, 2 fs.ErrPermission and 6 fs.ErrExist for
// errors.Is.
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
// operating system: that could name paths of the host.
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

// opcode returns 0, which no packet has, for one that is too short to tell.
func opcode(p []byte) uint16 {
	if len(p) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(p)
}

// parseBlock reads the block number of a DATA or ACK and what follows it.
func parseBlock(p []byte) (block uint16, data []byte, ok bool) {
	if len(p) < headerLen {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(p[2:]), p[headerLen:], true
}

// parseError reads an ERROR. Of a malformed one it keeps what there is: that
// the other end gave up counts, not how well it said so.
func parseError(p []byte) *Error {
	code, text, ok := parseBlock(p)
	if !ok {
		return &Error{Code: CodeUndefined}
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	return &Error{code, strings.ToValidUTF8(string(text[:min(len(text), maxText)]), "?")}
}

// parseRequest reads an RRQ or WRQ: the name as it was sent, the mode in lower
// case if it is known, and those options that are known and well formed. The
// rest are left out, which is how a server declines them (RFC 2347).
func parseRequest(p []byte) (Request, error) {
	var r Request
	op := opcode(p)
	if op != opRRQ && op != opWRQ {
		return r, fmt.Errorf("parse request: opcode %d", op)
	}
	if len(p) > maxRequest {
		return r, fmt.Errorf("parse request: %d bytes, at most %d are taken", len(p), maxRequest)
	}
	name, rest, ok := bytes.Cut(p[2:], []byte{0})
	if !ok || len(name) == 0 {
		return r, errors.New("parse request: no file name")
	}
	mode, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		return r, errors.New("parse request: no mode")
	}
	r.Write = op == opWRQ
	r.Name = string(name)
	r.Mode = string(mode)
	for _, known := range []string{"octet", "netascii"} {
		if strings.EqualFold(r.Mode, known) {
			r.Mode = known
		}
	}
	eachOption(rest, func(name, value string) error {
		r.Options.set(name, value)
		return nil
	})
	return r, nil
}

// parseOACK reads an OACK; a malformed or unknown option is an error, for
// nobody asked for it.
func parseOACK(p []byte) (Options, error) {
	var o Options
	if opcode(p) != opOACK {
		return o, errors.New("parse OACK: wrong opcode")
	}
	if err := eachOption(p[2:], o.set); err != nil {
		return o, fmt.Errorf("parse OACK: %w", err)
	}
	return o, nil
}

// eachOption calls f for each pair of option and value, and stops at the first
// that is not closed by NUL or that f refuses.
func eachOption(p []byte, f func(name, value string) error) error {
	for len(p) > 0 {
		name, rest, ok := bytes.Cut(p, []byte{0})
		value, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 {
			return errors.New("option without its end")
		}
		if err := f(string(name), string(value)); err != nil {
			return err
		}
		p = rest
	}
	return nil
}

func appendHeader(b []byte, op, block uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, op), block)
}

func appendACK(b []byte, block uint16) []byte { return appendHeader(b, opACK, block) }

func appendError(b []byte, e *Error) []byte {
	b = appendHeader(b, opERROR, e.Code)
	text, _, _ := strings.Cut(e.Text, "\x00")
	return append(append(b, text[:min(len(text), maxText)]...), 0)
}

func appendRequest(b []byte, r *Request) []byte {
	op := uint16(opRRQ)
	if r.Write {
		op = opWRQ
	}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, r.Name...), 0)
	b = append(append(b, r.Mode...), 0)
	return r.Options.append(b)
}

func appendOACK(b []byte, o Options) []byte {
	return o.append(binary.BigEndian.AppendUint16(b, opOACK))
}
