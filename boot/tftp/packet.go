package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
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

// The error codes of RFC 1350 (appendix I) and RFC 2347.
const (
	CodeUndefined = 0 // see the text
	CodeNotFound  = 1
	CodeAccess    = 2
	CodeDiskFull  = 3
	CodeIllegal   = 4 // illegal TFTP operation
	CodeUnknownID = 5 // unknown transfer ID
	CodeExists    = 6
	CodeOptions   = 8 // option negotiation was refused
)

const (
	headerLen        = 4    // of DATA, ACK and ERROR: opcode and block number or code
	maxRequest       = 1024 // bytes of an RRQ or WRQ that a server takes
	maxClientRequest = 512  // and that a client may send, RFC 2347
	maxText          = 256  // bytes of an error text that are kept or sent
)

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

// parseError reads an ERROR. Of a malformed one it keeps what there is. That the
// other end gave up counts, not how well it said so.
func parseError(p []byte) *Error {
	code, text, ok := parseBlock(p)
	if !ok {
		return &Error{Code: CodeUndefined}
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	return &Error{code, strings.ToValidUTF8(string(text[:min(len(text), maxText)]), "?")}
}

// parseRequest reads an RRQ or WRQ. The name is as it was sent, the mode in lower
// case if it is known. Of the options it takes those that are known and well
// formed. The rest are left out, which is how a server declines them (RFC 2347).
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

// parseOACK reads an OACK. A malformed or unknown option is an error, since
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

// eachOption calls f for each pair of option and value. It stops at the first
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

// dataHeader is the header of a DATA packet.
func dataHeader(block uint16) [headerLen]byte {
	return [headerLen]byte{0, opDATA, byte(block >> 8), byte(block)}
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
	return r.Options.appendTo(b)
}

func appendOACK(b []byte, o Options) []byte {
	return o.appendTo(binary.BigEndian.AppendUint16(b, opOACK))
}
