package tftp

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// RFC 7440: a window, one ACK; an ACK at a gap has the rest sent again.
func TestWindow(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(20*512 + 5)
		block := func(n int) []byte { return data(n, file[(n-1)*512:min(n*512, len(file))]) }
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = noTimeouts })
		w := b.newPeer(t)
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
		b = serveMemory(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing = Timing{Initial: time.Hour, Min: time.Minute, Max: time.Hour}
		})
		w = b.newPeer(t)
		w.send(rrq("f", "windowsize", "4"))
		w.want(append([]byte{0, 6}, "windowsize\x004\x00"...))
		w.send(ack(0))
		wants(1, 4)
		w.send(ack(4))
		wants(5, 8)
		start := time.Now()
		w.send(ack(4))
		wants(5, 8)
		// The grace is a tenth of the floor of the RTO.
		if grace := time.Since(start); grace != 6*time.Second+20*time.Millisecond {
			t.Errorf("the window came again within %v", grace)
		}
		w.send(ack(4))
		w.silent(30 * time.Second)
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
	synctest.Test(t, testNetascii)
}

func testNetascii(t *testing.T) {
	file := []byte("a\nb\rc\r\n" + strings.Repeat("\n", 300))
	want := []byte("a\r\nb\r\x00c\r\x00\r\n" + strings.Repeat("\r\n", 300))
	b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) { s.Timing = fastTiming })
	w := b.newPeer(t)
	// The size on the wire is not known before the end, and so not granted.
	w.send(request(opRRQ, "f", "NetASCII", "tsize", "0", "blksize", "512"))
	w.want(append([]byte{0, 6}, "blksize\x00512\x00"...))
	w.send(ack(0))
	w.want(data(1, want[:512]))
	w.want(data(1, want[:512])) // a resend
	w.send(ack(1))
	w.want(data(2, want[512:]))
	w.send(ack(2))
	if r := b.result(t, 0); r.Err != nil || r.Bytes != int64(len(want)) {
		t.Errorf("result %+v", r)
	}
}

// After block 65535 comes 1 where that is asked for; ACKs are understood
// likewise, at a gap behind the turn as well.
func TestRollToOne(t *testing.T) {
	t.Parallel()
	const blocks = 65_600
	file := pattern(8*blocks + 5)
	for _, window := range []int{1, 60} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			t.Parallel()
			b := serve(t, map[string][]byte{"f": file}, func(s *Server) { s.RollToOne = true })
			k := newBlockTaker(t, b.addr, 8, window)
			k.after = func(n uint16) uint16 { return max(n+1, 1) }
			var got bytes.Buffer
			k.see = func(data []byte) { got.Write(data) }
			k.ask("f")
			k.take(65_530 / window * window)
			if window > 1 {
				// Of this window, which turns, half is lost: blocks 1 and on.
				for range window {
					k.recv()
				}
				if k.block != 65_520 {
					t.Fatalf("at block %d", k.block)
				}
				k.block = 65_535
				k.ack()
				got.Write(file[8*65_520 : 8*65_535])
			}
			k.take(blocks)
			if !bytes.Equal(got.Bytes(), file) {
				t.Errorf("%d bytes that differ, of %d", got.Len(), len(file))
			}
			if r := b.result(t, 0); r.Err != nil || r.Bytes != int64(len(file)) {
				t.Errorf("result %+v", r)
			}
		})
	}
}

// What the window's ends are named, in both ways to count.
func TestBlockNumbers(t *testing.T) {
	for _, tt := range []struct {
		one        bool
		base, high int64
		block      uint16
		ahead      int64 // more than high-base: none
	}{
		{false, 0, 1, 0, 0},
		{false, 65535, 65540, 0, 1},
		{false, 65535, 65540, 4, 5},
		{false, 65535, 65540, 65534, 65535},
		{false, 131071, 131073, 1, 2},
		{true, 0, 1, 0, 0},
		{true, 65535, 65540, 0, 6}, // is no block
		{true, 65535, 65540, 1, 1},
		{true, 65535, 65540, 5, 5},
		{true, 65535, 65540, 65535, 0},
		{true, 65536, 65540, 65535, 65534},
		{true, 131070, 131075, 1, 1},
		{true, 131070, 131075, 65535, 0},
	} {
		t.Run(fmt.Sprintf("one=%v/%d-%d/%d", tt.one, tt.base, tt.high, tt.block), func(t *testing.T) {
			tr := &transfer{e: &engine{Server: &Server{Config: Config{RollToOne: tt.one}}}, win: window{acked: tt.base, high: tt.high}}
			if got := tr.ahead(tt.block); got != tt.ahead {
				t.Errorf("%d ahead, want %d", got, tt.ahead)
			}
			if n := tr.win.acked + tt.ahead; n <= tr.win.high && n > 0 && tr.blockNumber(n) != tt.block {
				t.Errorf("block %d is number %d", n, tr.blockNumber(n))
			}
		})
	}
}

// A file can have narrower windows than the server grants.
func TestSourceWindowsize(t *testing.T) {
	for _, tt := range []struct{ mode, ask, want string }{
		{"octet", "64", "4"}, {"octet", "4", "4"}, {"octet", "2", "2"}, {"netascii", "64", "3"}, {"octet", "", "1"},
	} {
		inBubble(t, tt.mode+" "+tt.ask, func(t *testing.T) {
			b := serveMemory(t, map[string][]byte{"f": pattern(5000)}, func(s *Server) {
				s.Timing, s.Limits.Windowsize = noTimeouts, 32
				open := s.Open
				s.Open = func(ctx context.Context, r *Request) (*Source, error) {
					src, err := open(ctx, r)
					if err == nil {
						src.Windowsize = map[string]int{"netascii": 3, "octet": 4}[r.Mode]
					}
					return src, err
				}
			})
			w := b.newPeer(t)
			if tt.ask == "" { // who asks for none gets none
				w.send(rrq("f"))
			} else {
				w.send(request(opRRQ, "f", tt.mode, "windowsize", tt.ask))
				w.want([]byte("\x00\x06windowsize\x00" + tt.want + "\x00"))
				w.send(ack(0))
			}
			n := 0
			for w.recv(100*time.Millisecond) != nil {
				n++
			}
			if fmt.Sprint(n) != tt.want {
				t.Errorf("%d blocks came", n)
			}
			w.send(errp(errCancelled))
		})
	}
}
