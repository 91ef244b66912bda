package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bootlace/bootlace/boot/tftp"
)

// A drop takes uploads in memory, new names only.
type drop struct {
	mu     sync.Mutex
	files  map[string]*dropped
	refuse error // of Write and Close
}

type dropped struct {
	*drop
	bytes.Buffer
	closed bool
	err    error // of CloseWithError
}

func (d *drop) create(_ context.Context, r *tftp.Request) (io.WriteCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[r.Name] != nil {
		return nil, &fs.PathError{Op: "create", Path: "/srv/secret/" + r.Name, Err: fs.ErrExist}
	}
	f := &dropped{drop: d}
	if d.files == nil {
		d.files = map[string]*dropped{}
	}
	d.files[r.Name] = f
	return f, nil
}

func (d *drop) get(name string) (data []byte, closed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, false, fs.ErrNotExist
	}
	return bytes.Clone(f.Bytes()), f.closed, f.err
}

func (f *dropped) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil && f.Len()+len(p) > 1000 {
		return 0, f.refuse
	}
	return f.Buffer.Write(p)
}

func (f *dropped) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.refuse
}

func (f *dropped) CloseWithError(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	return nil
}

func TestPut(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, single bool) {
		d := &drop{}
		b := serve(t, single, d.create)
		i := 0
		for _, blksize := range []int{0, 512, 65464, 100} {
			for _, n := range []int{0, 1, 512, 1427, 1428, 200_000} {
				name, file := fmt.Sprintf("%d/%d", blksize, n), pattern(n)
				tr, err := Put(t.Context(), &tftp.Client{Blksize: blksize}, b.addr, name, bytes.NewReader(file), int64(n))
				if err != nil || tr.Bytes != int64(n) {
					t.Fatalf("%s: %+v, %v", name, tr, err)
				}
				r := b.result(t, i)
				if got, closed, _ := d.get(name); !closed || !bytes.Equal(got, file) || r.Err != nil || r.Bytes != int64(n) || !r.Write {
					t.Errorf("%s: %d bytes, closed %v, %+v", name, len(got), closed, r)
				}
				i++
			}
		}
		b6 := serveAt(t, "[::1]:0", single, d.create)
		if _, err := Put(t.Context(), &tftp.Client{}, b6.addr, "six", strings.NewReader("x"), -1); err != nil {
			t.Errorf("IPv6: %v", err)
		}
		if got, closed, _ := d.get("six"); !closed || string(got) != "x" {
			t.Errorf("IPv6: %q, closed %v", got, closed)
		}
		_, err := Put(t.Context(), &tftp.Client{}, b.addr, "0/1", strings.NewReader("x"), 1)
		var told *tftp.Error
		if !errors.Is(err, fs.ErrExist) || !errors.As(err, &told) || told.Text != "file already exists" {
			t.Errorf("a second time: %v", err)
		}
	})
}

// Whatever is wrong at either end, the client learns it by a standard code,
// and the file is not taken for whole.
func TestPutFails(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, single bool) {
		for _, tt := range []struct {
			err  error
			size int
			code uint16
		}{
			{&fs.PathError{Op: "write", Path: "/srv/secret", Err: syscall.ENOSPC}, 5000, tftp.CodeDiskFull},
			{errors.New("/srv/secret is broken"), 5000, tftp.CodeUndefined},
			{&tftp.Error{Code: tftp.CodeAccess, Text: "too much"}, 5000, tftp.CodeAccess},
			{&fs.PathError{Op: "close", Path: "/srv/secret", Err: syscall.ENOSPC}, 10, tftp.CodeDiskFull}, // at Close
		} {
			d := &drop{refuse: tt.err}
			b := serve(t, single, d.create)
			_, err := Put(t.Context(), &tftp.Client{}, b.addr, "f", bytes.NewReader(pattern(tt.size)), int64(tt.size))
			var told *tftp.Error
			if !errors.As(err, &told) || told.Code != tt.code || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: client got %v", tt.err, err)
			}
			if r := b.result(t, 0); !errors.Is(r.Err, tt.err) {
				t.Errorf("result %v, want %v", r.Err, tt.err)
			}
		}
	})
	b := serve(t, false, nil)
	if _, err := Put(t.Context(), &tftp.Client{}, b.addr, "f", strings.NewReader("x"), 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("uploads off: %v", err)
	}
}

// A reader that ends early or fails, and a context that ends, leave no file.
func TestPutAborts(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, single bool) {
		d := &drop{}
		b := serve(t, single, d.create)
		broken := errors.New("broken")
		check := func(i int, name string) {
			t.Helper()
			var told *tftp.Error
			if res := b.result(t, i); !errors.As(res.Err, &told) || res.Name != name {
				t.Errorf("%s: result %+v", name, res)
			}
			if _, closed, err := d.get(name); closed || err == nil {
				t.Errorf("%s: closed %v, error %v", name, closed, err)
			}
		}
		_, err := Put(t.Context(), &tftp.Client{}, b.addr, "short", bytes.NewReader(pattern(5000)), 6000)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("short: %v", err)
		}
		check(0, "short")
		_, err = Put(t.Context(), &tftp.Client{}, b.addr, "broken", io.MultiReader(bytes.NewReader(pattern(5000)), &failingReader{broken}), -1)
		if !errors.Is(err, broken) {
			t.Errorf("broken: %v", err)
		}
		check(1, "broken")
		ctx, cancel := context.WithCancel(t.Context())
		r := &counting{after: 100, f: cancel}
		_, err = Put(ctx, &tftp.Client{}, b.addr, "cancelled", r, -1)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		n := r.n
		check(2, "cancelled")
		if r.n != n {
			t.Errorf("read %d times after Put had returned", r.n-n)
		}
	})
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }

// counting never ends, and calls f after some reads.
type counting struct {
	n, after int
	f        func()
}

func (c *counting) Read(p []byte) (int, error) {
	if c.n++; c.n == c.after {
		c.f()
	}
	return len(p), nil
}

// The protocol of an upload, packet by packet: options in any case, the last
// ACK repeated, strangers and packets that would crash pin/tftp kept away.
func TestPackets(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, single bool) {
		d := &drop{}
		b := serve(t, single, d.create)
		w := newPeer(t, b.addr)
		w.send(request("f", "Octet", "TSIZE", "700", "BLKSIZE", "600", "windowsize", "4"))
		w.want(append([]byte{0, 6}, "tsize\x00700\x00blksize\x00600\x00"...))
		stranger := newPeer(t, w.peer)
		stranger.send(data(1, []byte("evil")))
		stranger.want(errp(tftp.CodeUnknownID, "unknown transfer ID"))
		file := pattern(700)
		for _, p := range [][]byte{
			data(1, pattern(601)), data(1, pattern(60000)), // larger than was agreed on
			{0, 3, 0}, {0, 9}, append([]byte{0, 6}, "blksize\x0065464\x00"...), ack(1),
		} {
			w.send(p)
		}
		w.send(data(1, file[:600]))
		w.want(ack(1))
		w.send(data(1, file[:600])) // a duplicate
		w.send(data(2, file[600:]))
		w.want(ack(2))
		w.send(data(2, file[600:])) // the last ACK was lost
		w.want(ack(2))
		if got, closed, _ := d.get("f"); !closed || !bytes.Equal(got, file) {
			t.Errorf("%d bytes, closed %v", len(got), closed)
		}

		// A file that is not as long as was said.
		w = newPeer(t, b.addr)
		w.send(request("g", "octet", "tsize", "700"))
		w.want(append([]byte{0, 6}, "tsize\x00700\x00"...))
		w.send(data(1, file[:100]))
		w.want(errp(tftp.CodeUndefined, "transfer failed"))
		if r := b.result(t, 1); !errors.Is(r.Err, io.ErrUnexpectedEOF) {
			t.Errorf("result %+v", r)
		}
		if _, closed, err := d.get("g"); closed || err == nil {
			t.Errorf("closed %v, error %v", closed, err)
		}

		w = newPeer(t, b.addr)
		w.send(request("n", "netascii"))
		w.want(ack(0))
		w.send(data(1, []byte("a\r\nb\r\x00c")))
		w.want(ack(1))
		b.result(t, 2)
		if got, _, _ := d.get("n"); string(got) != "a\nb\rc" {
			t.Errorf("netascii: %q", got)
		}
	})
}

// Uploads that end while packets pour in do not harm the server.
func TestFlood(t *testing.T) {
	both(t, func(t *testing.T, single bool) {
		d := &drop{}
		b := serve(t, single, d.create)
		for i := range 30 {
			w := newPeer(t, b.addr)
			w.send(request(fmt.Sprint(i), "octet"))
			w.want(ack(0))
			for range 20 {
				w.send(data(1, []byte("end")))
			}
			w.send(errp(tftp.CodeUndefined, "enough"))
		}
		for i := range 30 {
			b.result(t, i)
		}
	})
}

// What cannot be a request is said before anything is sent.
func TestPutArguments(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:69")
	for _, tt := range []struct {
		blksize int
		server  netip.AddrPort
		name    string
		want    string
	}{
		{0, netip.AddrPort{}, "f", "no address"},
		{0, netip.AddrPortFrom(at.Addr(), 0), "f", "no address"},
		{0, at, "", "name is empty"},
		{0, at, "a\x00b", "NUL"},
		{0, at, strings.Repeat("x", 500), "too long"},
		{7, at, "f", "out of range"},
		{65465, at, "f", "out of range"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			c := &tftp.Client{Blksize: tt.blksize}
			if _, err := Put(t.Context(), c, tt.server, tt.name, strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
