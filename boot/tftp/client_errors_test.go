package tftp

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A file that is not whole, and a server that does not keep to its own words,
// are never a success; the server is told.
func TestGetBadServer(t *testing.T) {
	full := bytes.Repeat([]byte("x"), 8)
	for name, tt := range map[string]struct {
		options []string
		send    [][]byte
		want    string // of the error
		is      error
		told    *Error
		bytes   int64
	}{
		"truncated":         {[]string{"tsize", "20", "blksize", "8"}, [][]byte{data(1, full), data(2, full[:3])}, "11 of 20 bytes", io.ErrUnexpectedEOF, errCancelled, 11},
		"too much":          {[]string{"tsize", "10", "blksize", "8"}, [][]byte{data(1, full), data(2, full)}, "more than the 10 bytes", nil, errCancelled, 8},
		"large block":       {[]string{"blksize", "8"}, [][]byte{data(1, append(full, 1))}, "more than 8 bytes", nil, errIllegal, 0},
		"gives up":          {[]string{"blksize", "8"}, [][]byte{data(1, full), errp(&Error{CodeUndefined, "disk\x1b[2J"})}, `disk\x1b[2J`, nil, nil, 8},
		"taken away":        {[]string{"blksize", "8"}, [][]byte{data(1, full), errp(&Error{CodeNotFound, "gone"})}, "gone", fs.ErrNotExist, nil, 8},
		"larger blksize":    {[]string{"blksize", "1429"}, nil, "granted blksize 1429", nil, &Error{Code: CodeOptions}, 0},
		"wider window":      {[]string{"windowsize", "65"}, nil, "granted windowsize 65", nil, &Error{Code: CodeOptions}, 0},
		"unasked timeout":   {[]string{"timeout", "3"}, nil, "granted timeout 3s", nil, &Error{Code: CodeOptions}, 0},
		"unknown option":    {[]string{"multicast", "3"}, nil, `"multicast" is unknown`, nil, &Error{Code: CodeOptions}, 0},
		"malformed options": {[]string{"blksize", "x"}, nil, "not a number", nil, &Error{Code: CodeOptions}, 0},
	} {
		inBubble(t, name, func(t *testing.T) {
			g := ask(t, t.Context(), &Client{Timing: noTimeouts}, nil)
			if tt.send != nil {
				g.accept(tt.options...)
			} else {
				g.want([]byte(asked))
				g.send(append([]byte{0, opOACK}, strings.Join(tt.options, "\x00")+"\x00"...))
			}
			for _, p := range tt.send {
				g.send(p)
				if opcode(p) == opDATA && tt.told == nil {
					g.want(ack(1))
				}
			}
			if tt.told != nil {
				p := g.recv(time.Second)
				for opcode(p) == opACK {
					p = g.recv(time.Second)
				}
				if opcode(p) != opERROR || parseError(p).Code != tt.told.Code {
					t.Errorf("server was told %s", short(p))
				}
			}
			err := g.end()
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want %q (%v)", err, tt.want, tt.is)
			}
			if g.tr.Bytes != tt.bytes || tt.bytes != int64(g.buf.Len()) && name != "truncated" {
				t.Errorf("%d bytes, %d written", g.tr.Bytes, g.buf.Len())
			}
		})
	}
}

// A writer that fails ends the transfer, be the window acknowledged or not, and
// tells the server no more than that the disk is full.
func TestGetWriter(t *testing.T) {
	synctest.Test(t, testGetWriter)
}

func testGetWriter(t *testing.T) {
	for err, told := range map[error]*Error{
		&fs.PathError{Op: "write", Path: "/dev/sda", Err: syscall.ENOSPC}: {CodeDiskFull, "disk full or allocation exceeded"},
		&fs.PathError{Op: "write", Path: "/dev/sda", Err: syscall.EIO}:    errCancelled,
	} {
		g := ask(t, t.Context(), &Client{Timing: noTimeouts}, &failing{after: 12, err: err})
		g.accept("blksize", "8", "windowsize", "2")
		g.send(data(1, pattern(8)))
		g.send(data(2, pattern(8)))
		g.want(ack(2))
		g.send(data(3, nil)) // the last: its ACK would say that all was written
		g.want(errp(told))
		if got := g.end(); !errors.Is(got, err) || g.tr.Bytes != 12 {
			t.Errorf("%+v, %v", g.tr, got)
		}
	}
}

// failing takes some bytes and then fails.
type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after < len(p) {
		return f.after, f.err
	}
	f.after -= len(p)
	return len(p), nil
}
