package tftp

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// RFC 7440: a window, one ACK; an ACK at a gap has the rest sent again.
func TestWindow(t *testing.T) {
	both(t, func(t *testing.T, change func(*Server)) {
		file := pattern(20*512 + 5)
		block := func(n int) []byte { return data(n, file[(n-1)*512:min(n*512, len(file))]) }
		b := serve(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = patient })
		w := newWire(t, b.addr)
		wants := func(from, to int) {
			t.Helper()
			for n := from; n <= to; n++ {
				w.want(block(n))
			}
			w.silent(20 * time.Millisecond)
		}
		w.send(rrq("f", "windowsize", "4"))
		w.want(append([]byte{0, 6}, "windowsize\x004\x00"...))
		w.send(ack(0))
		wants(1, 4)
		w.send(ack(2)) // 3 was lost
		wants(3, 6)
		w.send(ack(6))
		wants(7, 10)
		w.send(ack(10))
		w.send(ack(10)) // the network doubled it
		wants(11, 14)
		w.send(ack(14))
		wants(15, 18)
		w.send(ack(3))  // old
		w.send(ack(19)) // never sent
		w.silent(50 * time.Millisecond)
		w.send(ack(18))
		wants(19, 21)
		w.send(ack(21))
		if r := b.result(t, 0); r.Err != nil || r.Bytes != int64(len(file)) || r.Resent != 2 {
			t.Errorf("result %+v", r)
		}

		// The first block of a window is missing: the last ACK comes once more,
		// and the window again, long before the timeout. But once is enough.
		b = serve(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing = Timing{Initial: time.Minute, Min: 3 * time.Second, Max: time.Minute}
		})
		w = newWire(t, b.addr)
		w.send(rrq("f", "windowsize", "4"))
		w.want(append([]byte{0, 6}, "windowsize\x004\x00"...))
		w.send(ack(0))
		wants(1, 4)
		w.send(ack(4))
		wants(5, 8)
		w.send(ack(4))
		wants(5, 8)
		w.send(ack(4))
		w.silent(600 * time.Millisecond)
		w.send(errp(errCancelled))
	})
}

// Block numbers roll over to 0; both ends count on.
func TestRollover(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		file := pattern(8*65536*2 + 3)
		b := serve(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = Timing{} })
		var got bytes.Buffer
		c := &Client{Blksize: 8, Windowsize: 60}
		if tr, err := c.Get(t.Context(), b.addr, "f", &got); err != nil || !bytes.Equal(got.Bytes(), file) {
			t.Errorf("%+v, %v", tr, err)
		}
	})
}

func TestNetascii(t *testing.T) {
	t.Parallel()
	file := []byte("a\nb\rc\r\n" + strings.Repeat("\n", 300))
	want := []byte("a\r\nb\r\x00c\r\x00\r\n" + strings.Repeat("\r\n", 300))
	b := serve(t, map[string][]byte{"f": file}, func(s *Server) { s.Timing = quick })
	w := newWire(t, b.addr)
	// The size on the wire is not known before the end, and so not granted.
	w.send(request(opRRQ, "f", "NetASCII", "tsize", "0", "blksize", "512"))
	w.want(append([]byte{0, 6}, "blksize\x00512\x00"...))
	w.send(ack(0))
	w.want(data(1, want[:512]))
	w.want(data(1, want[:512])) // a resend
	w.send(ack(1))
	w.until(data(2, want[512:]))
	w.send(ack(2))
	if r := b.result(t, 0); r.Err != nil || r.Bytes != int64(len(want)) {
		t.Errorf("result %+v", r)
	}
}
