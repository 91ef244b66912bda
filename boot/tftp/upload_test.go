package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

func (d *drop) create(_ context.Context, r *Request) (io.WriteCloser, error) {
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
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Create = d.create })
		i := 0
		for _, blksize := range []int{0, 512, 65464, 100} {
			for _, n := range []int{0, 1, 512, 1427, 1428, 200_000} {
				name, file := fmt.Sprintf("%d/%d", blksize, n), pattern(n)
				tr, err := (&Client{Blksize: blksize}).Put(t.Context(), b.addr, name, bytes.NewReader(file), int64(n))
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
		b6 := serveOn(t, listen(t, "[::1]:0"), nil, func(s *Server) { change(s); s.Create = d.create })
		if _, err := (&Client{}).Put(t.Context(), b6.addr, "six", strings.NewReader("x"), -1); err != nil {
			t.Errorf("IPv6: %v", err)
		}
		if got, closed, _ := d.get("six"); !closed || string(got) != "x" {
			t.Errorf("IPv6: %q, closed %v", got, closed)
		}
		_, err := (&Client{}).Put(t.Context(), b.addr, "0/1", strings.NewReader("x"), 1)
		var told *Error
		if !errors.Is(err, fs.ErrExist) || !errors.As(err, &told) || told.Text != "file already exists" {
			t.Errorf("a second time: %v", err)
		}
	})
}

// Whatever is wrong at either end, the client learns it by a standard code,
// and the file is not taken for whole.
func TestPutFails(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		for _, tt := range []struct {
			err  error
			size int
			code uint16
		}{
			{&fs.PathError{Op: "write", Path: "/srv/secret", Err: syscall.ENOSPC}, 5000, CodeDiskFull},
			{errors.New("/srv/secret is broken"), 5000, CodeUndefined},
			{&Error{CodeAccess, "too much"}, 5000, CodeAccess},
			{&fs.PathError{Op: "close", Path: "/srv/secret", Err: syscall.ENOSPC}, 10, CodeDiskFull}, // at Close
		} {
			d := &drop{refuse: tt.err}
			b := serve(t, nil, func(s *Server) { change(s); s.Create = d.create })
			_, err := (&Client{}).Put(t.Context(), b.addr, "f", bytes.NewReader(pattern(tt.size)), int64(tt.size))
			var told *Error
			if !errors.As(err, &told) || told.Code != tt.code || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: client got %v", tt.err, err)
			}
			if r := b.result(t, 0); !errors.Is(r.Err, tt.err) {
				t.Errorf("result %v, want %v", r.Err, tt.err)
			}
		}
	})
	b := serve(t, nil, nil)
	if _, err := (&Client{}).Put(t.Context(), b.addr, "f", strings.NewReader("x"), 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("uploads off: %v", err)
	}
}

// A reader that ends early or fails, and a context that ends, leave no file.
func TestPutAborts(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Create = d.create })
		broken := errors.New("broken")
		check := func(i int, name string) {
			t.Helper()
			var told *Error
			if res := b.result(t, i); !errors.As(res.Err, &told) || res.Name != name {
				t.Errorf("%s: result %+v", name, res)
			}
			if _, closed, err := d.get(name); closed || err == nil {
				t.Errorf("%s: closed %v, error %v", name, closed, err)
			}
		}
		_, err := (&Client{}).Put(t.Context(), b.addr, "short", bytes.NewReader(pattern(5000)), 6000)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("short: %v", err)
		}
		check(0, "short")
		_, err = (&Client{}).Put(t.Context(), b.addr, "broken", io.MultiReader(bytes.NewReader(pattern(5000)), &failingReader{broken}), -1)
		if !errors.Is(err, broken) {
			t.Errorf("broken: %v", err)
		}
		check(1, "broken")
		ctx, cancel := context.WithCancel(t.Context())
		r := &counting{after: 100, f: cancel}
		_, err = (&Client{}).Put(ctx, b.addr, "cancelled", r, -1)
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
func TestUploadWire(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Timing.Initial = 5 * time.Second; s.Create = d.create })
		w := newWire(t, b.addr)
		w.send(request(opWRQ, "f", "Octet", "TSIZE", "700", "BLKSIZE", "600", "windowsize", "4"))
		w.want(append([]byte{0, 6}, "tsize\x00700\x00blksize\x00600\x00"...))
		stranger := newWire(t, w.peer)
		stranger.send(data(1, []byte("evil")))
		stranger.want(errp(errUnknownID))
		file := pattern(700)
		for _, p := range [][]byte{
			data(1, pattern(601)), data(1, pattern(60000)), // larger than was agreed on
			{0, 3, 0}, {0, 9}, append([]byte{0, 6}, "blksize\x0065464\x00"...), ack(1),
		} {
			w.send(p)
		}
		if b.SinglePort {
			w.send(request(opWRQ, "f", "Octet", "TSIZE", "700", "BLKSIZE", "600", "windowsize", "4"))
		}
		w.silent(50 * time.Millisecond)
		w.send(data(1, file[:600]))
		w.want(ack(1))
		w.send(data(1, file[:600])) // a duplicate
		w.send(data(2, file[600:]))
		w.until(ack(2))             // ACK 1 may have been sent again by time
		w.send(data(2, file[600:])) // the last ACK was lost
		w.want(ack(2))
		if got, closed, _ := d.get("f"); !closed || !bytes.Equal(got, file) {
			t.Errorf("%d bytes, closed %v", len(got), closed)
		}

		// A file that is not as long as was said.
		w = newWire(t, b.addr)
		w.send(request(opWRQ, "g", "octet", "tsize", "700"))
		w.want(append([]byte{0, 6}, "tsize\x00700\x00"...))
		w.send(data(1, file[:100]))
		w.want(errp(&Error{CodeUndefined, "transfer failed"}))
		if r := b.result(t, 1); !errors.Is(r.Err, io.ErrUnexpectedEOF) {
			t.Errorf("result %+v", r)
		}
		if _, closed, err := d.get("g"); closed || err == nil {
			t.Errorf("closed %v, error %v", closed, err)
		}

		w = newWire(t, b.addr)
		w.send(request(opWRQ, "n", "netascii"))
		w.want(ack(0))
		w.send(data(1, []byte("a\r\nb\r\x00c")))
		w.want(ack(1))
		b.result(t, 2)
		if got, _, _ := d.get("n"); string(got) != "a\nb\rc" {
			t.Errorf("netascii: %q", got)
		}
	})
}

// Who sends nothing gets four answers; who falls silent, or repeats itself for
// ever, is given up.
func TestUploadSilence(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Create = d.create })
		w := newWire(t, b.addr)
		w.send(request(opWRQ, "f", "octet"))
		n := 0
		for w.recv(400*time.Millisecond) != nil {
			n++
		}
		if n != 4 {
			t.Errorf("%d answers", n)
		}
		if r := b.result(t, 0); !errors.Is(r.Err, errSilent) {
			t.Errorf("result %+v", r)
		}

		w = newWire(t, b.addr)
		w.send(request(opWRQ, "g", "octet"))
		w.want(ack(0))
		w.send(data(1, pattern(512)))
		w.want(ack(1))
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			for ctx.Err() == nil {
				w.conn.WriteToUDPAddrPort(data(1, pattern(512)), w.peer)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		if r := b.result(t, 1); !errors.Is(r.Err, errSilent) {
			t.Errorf("result %+v", r)
		}
		cancel()
		<-over
	})
}

func TestUploadStop(t *testing.T) {
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Timing = patient; s.Create = d.create })
		w := newWire(t, b.addr)
		w.send(request(opWRQ, "f", "octet"))
		w.want(ack(0))
		b.stop()
		w.want(errp(errStopping))
		if r := b.result(t, 0); !errors.Is(r.Err, context.Canceled) {
			t.Errorf("result %+v", r)
		}
	})
}

// Uploads that end while packets pour in do not harm the server.
func TestUploadFlood(t *testing.T) {
	both(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serve(t, nil, func(s *Server) { change(s); s.Create = d.create })
		for i := range 30 {
			w := newWire(t, b.addr)
			w.send(request(opWRQ, fmt.Sprint(i), "octet"))
			w.want(ack(0))
			for range 20 {
				w.send(data(1, []byte("end")))
			}
			w.send(errp(errCancelled))
		}
		for i := range 30 {
			b.result(t, i)
		}
	})
}
