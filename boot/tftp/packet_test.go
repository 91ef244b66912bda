package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Packets as RFC 1350, 2347 and 7440 draw them, byte for byte, both ways.
func TestGoldenPackets(t *testing.T) {
	full := Options{Blksize: 1468, TSize: true, Size: 1234, Timeout: 5 * time.Second, Windowsize: 16}
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"RRQ", appendRequest(nil, &Request{Name: "a/b", Mode: "octet"}), "\x00\x01a/b\x00octet\x00"},
		{"WRQ", appendRequest(nil, &Request{Name: "f", Mode: "netascii", Write: true}), "\x00\x02f\x00netascii\x00"},
		{"RRQ with options", appendRequest(nil, &Request{Name: "f", Mode: "octet", Options: Options{TSize: true, Blksize: 1428, Windowsize: 64}}),
			"\x00\x01f\x00octet\x00tsize\x000\x00blksize\x001428\x00windowsize\x0064\x00"},
		{"ACK", appendACK(nil, 0xfffe), "\x00\x04\xff\xfe"},
		{"ERROR", appendError(nil, errUnknownID), "\x00\x05\x00\x05unknown transfer ID\x00"},
		{"ERROR cut", appendError(nil, &Error{1, "a\x00b"}), "\x00\x05\x00\x01a\x00"},
		{"OACK", appendOACK(nil, full), "\x00\x06tsize\x001234\x00blksize\x001468\x00timeout\x005\x00windowsize\x0016\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if string(tt.got) != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
	if o, err := parseOACK(appendOACK(nil, full)); err != nil || o != full {
		t.Errorf("OACK read back: %+v, %v", o, err)
	}
	r, err := parseRequest([]byte("\x00\x01x\x00OcTeT\x00BLKSIZE\x001468\x00tSize\x000\x00"))
	if want := (Request{Name: "x", Mode: "octet", Options: Options{Blksize: 1468, TSize: true}}); err != nil || r != want {
		t.Errorf("RRQ: %+v, %v", r, err)
	}
	if e := parseError([]byte("\x00\x05\x00\x01no\xffne\x00rest")); e.Code != 1 || e.Text != "no?ne" {
		t.Errorf("ERROR: %+v", e)
	}
}

func TestParseRequest(t *testing.T) {
	for p, want := range map[string]string{
		"":                       "opcode 0",
		"\x00":                   "opcode 0",
		"\x00\x03f\x00octet\x00": "opcode 3",
		"\x00\x01":               "no file name",
		"\x00\x01\x00octet\x00":  "no file name",
		"\x00\x01name":           "no file name",
		"\x00\x01name\x00octet":  "no mode",
		"\x00\x01" + strings.Repeat("x", 2000) + "\x00octet\x00": "at most 1024",
	} {
		t.Run(fmt.Sprintf("%.20q", p), func(t *testing.T) {
			if _, err := parseRequest([]byte(p)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	// What is malformed among the options is as if it had not been asked.
	for options, want := range map[string]Options{
		"blksize\x00":                        {},
		"blksize":                            {},
		"blksize\x00\x00":                    {},
		"blksize\x007\x00":                   {},
		"blksize\x00-8\x00":                  {},
		"blksize\x00+8\x00":                  {},
		"blksize\x0070000\x00":               {Blksize: 65464},
		"blksize\x00512\x00blksize\x008\x00": {Blksize: 512},
		"timeout\x000\x00":                   {},
		"timeout\x00256\x00":                 {},
		"timeout\x00255\x00":                 {Timeout: 255 * time.Second},
		"windowsize\x000\x00":                {},
		"windowsize\x0065536\x00":            {},
		"multicast\x00\x00tsize\x000\x00":    {TSize: true},
		"tsize\x0099999999999999999999\x00":  {},
	} {
		t.Run(fmt.Sprintf("%q", options), func(t *testing.T) {
			r, err := parseRequest([]byte("\x00\x01f\x00octet\x00" + options))
			if err != nil || r.Options != want {
				t.Errorf("got %+v, %v, want %+v", r.Options, err, want)
			}
		})
	}
}

// What a client is told names nothing of the host.
func TestWireError(t *testing.T) {
	path := func(err error) error { return &fs.PathError{Op: "open", Path: "/srv/secret", Err: err} }
	for _, tt := range []struct {
		err  error
		code uint16
	}{
		{path(syscall.ENOENT), CodeNotFound},
		{path(syscall.EACCES), CodeAccess},
		{path(fs.ErrInvalid), CodeAccess},
		{path(syscall.EEXIST), CodeExists},
		{path(syscall.ENOSPC), CodeDiskFull},
		{path(syscall.EIO), CodeUndefined},
		{errors.New("/srv/secret"), CodeUndefined},
		{fmt.Errorf("x /srv/secret: %w", &Error{7, "nobody"}), 7},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			e := wireError(tt.err)
			if e.Code != tt.code || strings.Contains(e.Text, "secret") || strings.Contains(e.Text, "no such") {
				t.Errorf("got %+v, want code %d", e, tt.code)
			}
		})
	}
	for code, want := range map[uint16]error{CodeNotFound: fs.ErrNotExist, CodeAccess: fs.ErrPermission, CodeExists: fs.ErrExist} {
		if err := fmt.Errorf("get: %w", peerError{&Error{Code: code}}); !errors.Is(err, want) {
			t.Errorf("code %d is not %v", code, want)
		}
	}
}

// Whatever comes, what is read of a request is in range, and is the same when it
// is written and read again.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x00\x01f\x00octet\x00blksize\x001428\x00tsize\x000\x00"))
	f.Add([]byte("\x00\x02f\x00netascii\x00timeout\x005\x00windowsize\x0064\x00"))
	f.Add([]byte("\x00\x01/a\\b\x00MAIL\x00BlkSize\x0099999\x00blksize\x008\x00unknown\x00\x00"))
	f.Add([]byte("\x00\x01f\x00octet\x00tsize\x00-1\x00timeout\x00256\x00windowsize\x00"))
	f.Add([]byte("\x00\x01f"))
	f.Fuzz(func(t *testing.T, p []byte) {
		keep := bytes.Clone(p)
		r, err := parseRequest(p)
		if !bytes.Equal(keep, p) {
			t.Errorf("%q was changed to %q", keep, p)
		}
		if err != nil {
			return
		}
		if r.Name == "" || strings.Contains(r.Name+r.Mode, "\x00") || r.Write != (p[1] == opWRQ) || !bytes.HasPrefix(p[2:], append([]byte(r.Name), 0)) {
			t.Errorf("%q: read %+v", p, r)
		}
		inRange(t, r.Options)
		again, err := parseRequest(appendRequest(nil, &r))
		if err == nil && again != r || err != nil && len(p) < maxRequest/2 {
			t.Errorf("%q: read %+v, read back %+v, %v", p, r, again, err)
		}
	})
}

// Likewise of an OACK. Of one that holds no more than was asked the client is
// sure.
func FuzzOACK(f *testing.F) {
	f.Add([]byte("\x00\x06tsize\x001234\x00blksize\x001468\x00"), 1468, 64)
	f.Add([]byte("\x00\x06windowsize\x0065\x00timeout\x001\x00"), 0, 64)
	f.Add([]byte("\x00\x06blksize\x0065465\x00"), 65464, 1)
	f.Add([]byte("\x00\x06multicast\x00\x00"), 0, 0)
	f.Add([]byte("\x00\x06"), 8, 1)
	f.Fuzz(func(t *testing.T, p []byte, blksize, windowsize int) {
		o, err := parseOACK(p)
		if err != nil {
			return
		}
		inRange(t, o)
		if again, err := parseOACK(appendOACK(nil, o)); err != nil || again != o {
			t.Errorf("%q: read %+v, read back %+v, %v", p, o, again, err)
		}
		asked := Options{Blksize: blksize, Windowsize: windowsize}
		if o.within(asked) == nil && (o.Blksize > blksize || o.Windowsize > windowsize || o.TSize || o.Timeout != 0) {
			t.Errorf("%+v is taken for an answer to %+v", o, asked)
		}
	})
}

func inRange(t *testing.T, o Options) {
	t.Helper()
	if o.Blksize != 0 && (o.Blksize < minBlksize || o.Blksize > maxBlksize) || o.Size < 0 || o.Size > 0 && !o.TSize ||
		o.Timeout%time.Second != 0 || o.Timeout < 0 || o.Timeout > 255*time.Second || o.Windowsize < 0 || o.Windowsize > 65535 {
		t.Errorf("options out of range: %+v", o)
	}
}

// FuzzPacket is for the packets of a transfer: DATA, ACK and ERROR.
func FuzzPacket(f *testing.F) {
	f.Add([]byte("\x00\x05\x00\x01none\x00"))
	f.Add([]byte("\x00\x05\x00\x08no end"))
	f.Add([]byte("\x00\x05\x00\x00\xff\xfe\x00rest\x00"))
	f.Add([]byte("\x00\x03\x00"))
	f.Add([]byte("\x00\x04\xff\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		e := parseError(p)
		again := appendError(nil, e)
		if len(again) > headerLen+maxText+1 || strings.Contains(e.Text, "\x00") {
			t.Errorf("%q: error %+v", p, e)
		}
		if back := parseError(again); len(e.Text) <= maxText && *back != *e {
			t.Errorf("%q: read %+v, read back %+v", p, e, back)
		}
		block, data, ok := parseBlock(p)
		if ok != (len(p) >= 4) || ok && len(data) != len(p)-4 {
			t.Errorf("%q: block of %d bytes, %v", p, len(data), ok)
		}
		if ok && opcode(p) == opDATA && !bytes.Equal(append(appendHeader(nil, opDATA, block), data...), p) {
			t.Errorf("%q: block %d", p, block)
		}
	})
}
