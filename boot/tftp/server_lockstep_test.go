package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// both runs a test with a port a transfer, and with one port for all.
func both(t *testing.T, f func(t *testing.T, change func(*Server))) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single=%v", single), func(t *testing.T) {
			t.Parallel()
			f(t, func(s *Server) { s.SinglePort, s.Timing = single, fastTiming })
		})
	}
}

// bothInBubble is both for tests of time: each runs in a bubble, in memory.
func bothInBubble(t *testing.T, f func(t *testing.T, change func(*Server))) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single=%v", single), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, func(s *Server) { s.SinglePort, s.Timing = single, fastTiming })
			})
		})
	}
}

// A file of an exact multiple of the block ends with an empty DATA, and a
// duplicate ACK brings nothing (the Sorcerer's Apprentice).
func TestLockstep(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(1024)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = noTimeouts })
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(data(1, file[:512]))
		if (w.peer == b.addr) != b.SinglePort {
			t.Errorf("answer came from %v", w.peer)
		}
		w.send(ack(1))
		w.want(data(2, file[512:]))
		for range 3 {
			w.send(ack(1))
		}
		w.send(ack(9)) // never sent
		w.silent(100 * time.Millisecond)
		w.send(ack(2))
		w.want(data(3, nil))
		w.send(ack(3))
		r := b.result(t, 0)
		if r.Err != nil || r.Bytes != 1024 || r.Resent != 0 || r.Name != "f" || r.Remote.Port() != w.addr().Port() || r.Local != b.addr {
			t.Errorf("result %+v", r)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct{ ask, want []string }{
		{[]string{"BlkSize", "1468"}, []string{"blksize", "1468"}},
		{[]string{"blksize", "65464"}, []string{"blksize", "9000"}},
		{[]string{"blksize", "8"}, []string{"blksize", "8"}},
		{[]string{"tsize", "0"}, []string{"tsize", "5000"}},
		{[]string{"TIMEOUT", "255"}, []string{"timeout", "255"}},
		{[]string{"windowsize", "16"}, []string{"windowsize", "16"}},
		{[]string{"windowsize", "64"}, []string{"windowsize", "32"}},
		{[]string{"multicast", "", "tsize", "0", "rollover", "0"}, []string{"tsize", "5000"}},
		{[]string{"windowsize", "4", "timeout", "0", "blksize", "1000", "tsize", "0"}, []string{"tsize", "5000", "blksize", "1000", "windowsize", "4"}},
		// Nothing to grant: no OACK.
		{[]string{"blksize", "7"}, nil},
		{[]string{"timeout", "256"}, nil},
		{[]string{"windowsize", "0"}, nil},
		{[]string{"utimeout", "1"}, nil},
		{[]string{"blksize"}, nil},
	} {
		inBubble(t, strings.Join(tt.ask, " "), func(t *testing.T) {
			b := serveMemory(t, map[string][]byte{"f": pattern(5000)}, func(s *Server) {
				s.Limits.Windowsize, s.Limits.Blksize = 32, 9000
			})
			w := b.newPeer(t)
			w.send(rrq("f", tt.ask...))
			want := []byte{0, 6}
			for _, o := range tt.want {
				want = append(append(want, o...), 0)
			}
			if tt.want == nil {
				want = data(1, b.files["f"][:512])
			}
			w.want(want)
			w.send(errp(&Error{CodeOptions, "enough"}))
		})
	}
}

// EDK2 asks for the size, ends with ERROR 8, and asks again.
func TestProbe(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, map[string][]byte{"f": pattern(100)}, change)
		w := b.newPeer(t)
		w.send(rrq("f", "tsize", "0"))
		w.want(append([]byte{0, 6}, "tsize\x00100\x00"...))
		w.send(errp(&Error{CodeOptions, "User aborted the transfer"}))
		if r := b.result(t, 0); !r.Probe || r.Err != nil {
			t.Errorf("result %+v", r)
		}
		w = b.newPeer(t)
		w.send(rrq("f", "blksize", "1000"))
		w.want(append([]byte{0, 6}, "blksize\x001000\x00"...))
		w.send(errp(&Error{CodeOptions, "no"}))
		var told *Error
		if r := b.result(t, 1); r.Probe || !errors.As(r.Err, &told) || told.Code != CodeOptions {
			t.Errorf("refused options: %+v", r)
		}
	})
}

func TestRefusals(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, map[string][]byte{"f": nil, "shrunk": pattern(2000)}, func(s *Server) {
			change(s)
			open := s.Open
			s.Open = func(ctx context.Context, r *Request) (*Source, error) {
				switch r.Name {
				case "denied":
					return nil, &fs.PathError{Op: "open", Path: "/srv/secret", Err: fs.ErrPermission}
				case "own":
					return nil, &Error{CodeUndefined, "no plan for you"}
				}
				src, err := open(ctx, r)
				if r.Name == "shrunk" {
					src.Size = 3000
				}
				return src, err
			}
		})
		for _, tt := range []struct {
			packet []byte
			want   *Error
			is     error
		}{
			{rrq("none"), &Error{CodeNotFound, "file not found"}, fs.ErrNotExist},
			{rrq("denied"), &Error{CodeAccess, "access violation"}, fs.ErrPermission},
			{rrq("own"), &Error{CodeUndefined, "no plan for you"}, nil},
			{rrq("shrunk", "blksize", "65464"), &Error{CodeUndefined, "transfer failed"}, io.ErrUnexpectedEOF},
			{request(opRRQ, "f", "mail"), errMode, errMode},
			{request(opRRQ, "f", "binary"), errMode, errMode},
			{request(opWRQ, "f", "octet"), errNoUploads, errNoUploads},
			{[]byte("\x00\x01f\x00octet"), errIllegal, nil},
			{[]byte("\x00\x07what"), errIllegal, nil},
			{ack(7), errUnknownID, nil},
			{data(1, nil), errUnknownID, nil},
		} {
			b.mu.Lock()
			n := len(b.results)
			b.mu.Unlock()
			w := b.newPeer(t)
			w.send(tt.packet)
			if opcode(tt.packet) == opRRQ && strings.Contains(string(tt.packet), "shrunk") {
				w.want(append([]byte{0, 6}, "blksize\x0065464\x00"...))
				w.send(ack(0))
			}
			w.want(errp(tt.want))
			if tt.want != errIllegal && tt.want != errUnknownID {
				if r := b.result(t, n); tt.is != nil && !errors.Is(r.Err, tt.is) {
					t.Errorf("%q: result %v, want %v", tt.packet, r.Err, tt.is)
				}
			}
		}
		w := b.newPeer(t)
		w.send(errp(errCancelled)) // an ERROR is never answered
		w.send([]byte{0})
		w.want(errp(errIllegal)) // this is the second one's
		w.silent(50 * time.Millisecond)
	})
}

// RFC 1350 section 4: a stranger is told so, and disturbs nothing.
func TestStranger(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(700)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = noTimeouts })
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(data(1, file[:512]))
		stranger := b.newPeerOf(t, w.peer)
		for _, p := range [][]byte{ack(1), data(1, nil)} {
			stranger.send(p)
			stranger.want(errp(errUnknownID))
		}
		stranger.send(errp(errCancelled))
		stranger.silent(50 * time.Millisecond)
		w.silent(10 * time.Millisecond)
		w.send(ack(1))
		w.want(data(2, file[512:]))
		w.send(ack(2))
		if r := b.result(t, 0); r.Err != nil || r.Bytes != 700 {
			t.Errorf("result %+v", r)
		}
	})
}

// A request that comes twice is one transfer; another one from the same port
// takes its place, and so does the same one once its client fell silent.
func TestRepeatedRequest(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(1200)
		b := serveMemory(t, map[string][]byte{"f": file, "g": file[:3]}, func(s *Server) { change(s); s.Timing.Initial = time.Second })
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(data(1, file[:512]))
		tid := w.peer
		w.peer = b.addr
		w.send(rrq("f"))
		w.silent(100 * time.Millisecond)
		w.peer = tid
		w.send(ack(1))
		w.want(data(2, file[512:1024]))
		w.want(data(2, file[512:1024])) // a resend: the client is silent
		w.peer = b.addr
		w.send(rrq("f"))
		w.until(data(1, file[:512])) // after resends that are still on the way
		if r := b.result(t, 0); !errors.Is(r.Err, errReplaced) {
			t.Errorf("first transfer: %v", r.Err)
		}
		w.peer = b.addr
		w.send(rrq("g"))
		w.want(data(1, file[:3]))
		w.send(ack(1))
		replaced, whole := 0, 0
		for i := range 3 {
			switch r := b.result(t, i); {
			case r.Name == "f" && errors.Is(r.Err, errReplaced):
				replaced++
			case r.Name == "g" && r.Err == nil:
				whole++
			}
		}
		if replaced != 2 || whole != 1 {
			t.Errorf("%d were replaced, %d whole", replaced, whole)
		}
	})
}

// Who has not answered gets four packets, and no more.
func TestNoAmplification(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, map[string][]byte{"f": pattern(1 << 20)}, change)
		for i, packet := range [][]byte{rrq("f"), rrq("f", "blksize", "1428", "windowsize", "64", "timeout", "1")} {
			w := b.newPeer(t)
			w.send(packet)
			n := 0
			for w.recv(500*time.Millisecond) != nil {
				n++
			}
			if n != 4 {
				t.Errorf("%q brought %d packets", packet, n)
			}
			if r := b.result(t, i); !errors.Is(r.Err, errSilent) || r.Resent != 3 || r.Bytes != 0 {
				t.Errorf("result %+v", r)
			}
		}
	})
}

// Resends wait the measured round trip with a floor, and double; the granted
// timeout takes its place.
func TestResend(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, map[string][]byte{"f": pattern(1000)}, func(s *Server) {
			change(s)
			s.Timing = Timing{Min: 40 * time.Millisecond, Retries: 3}
		})
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(data(1, b.files["f"][:512]))
		w.send(ack(1))
		start := time.Now()
		w.want(data(2, b.files["f"][512:]))
		for i, want := range []time.Duration{40, 120, 280} {
			w.want(data(2, b.files["f"][512:]))
			if got := time.Since(start); got < want*time.Millisecond || got > want*time.Millisecond+tick {
				t.Errorf("retransmission %d after %v, want %d ms", i, got, want)
			}
		}
		if r := b.result(t, 0); !errors.Is(r.Err, errSilent) || r.Resent != 3 || r.Bytes != 512 {
			t.Errorf("result %+v", r)
		}

		w = b.newPeer(t)
		w.send(rrq("f", "timeout", "1"))
		w.want(append([]byte{0, 6}, "timeout\x001\x00"...))
		w.send(ack(0))
		w.want(data(1, b.files["f"][:512]))
		w.silent(900 * time.Millisecond)
		w.want(data(1, b.files["f"][:512]))
		w.send(errp(errCancelled))
	})
}

// Beyond the limits a client that is there is told so, and counted.
func TestLimits(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(600)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing.Initial = time.Second
			s.Limits = Limits{Transfers: 5, PerClient: 3}
		})
		request := func() *rawPeer {
			w := b.newPeer(t)
			w.send(rrq("f"))
			w.want(data(1, file[:512]))
			return w
		}
		// Who has not answered counts not: there may be nobody.
		for range 10 {
			request()
		}
		var ws []*rawPeer
		for range 4 {
			ws = append(ws, request())
		}
		for _, w := range ws[:3] {
			w.send(ack(1))
			w.want(data(2, file[512:]))
		}
		ws[3].send(ack(1)) // it began while there was room
		ws[3].want(errp(errBusy))
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(errp(errBusy))
		if n := b.Counters.Refused.Load(); n != 2 {
			t.Errorf("%d were refused, not 2", n)
		}
		ws[0].send(ack(2))
		b.result(t, 1)
		w = request()
		w.send(ack(1))
		w.want(data(2, file[512:]))
	})
	if l := (Limits{}).withDefaults(); l.PerClient < 4000 || l.HalfOpen < 4000 || l.Transfers < l.PerClient {
		t.Errorf("defaults %+v do not take 4000 devices behind one address", l)
	}
}

// When the server stops, clients are told.
func TestStop(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, map[string][]byte{"f": pattern(600)}, func(s *Server) { change(s); s.Timing.Initial = time.Minute })
		w := b.newPeer(t)
		w.send(rrq("f"))
		w.want(data(1, b.files["f"][:512]))
		b.stop()
		w.want(errp(errStopping))
		if r := b.result(t, 0); !errors.Is(r.Err, context.Canceled) {
			t.Errorf("result %+v", r)
		}
	})
}
