package tftp

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Requests that nobody answers for keep no client out, and no transfer that is
// under way gives way to them.
func TestHalfOpenGiveWay(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(1200)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing = noTimeouts
			s.Limits = Limits{HalfOpen: 4, PerClient: 2}
		})
		request := func() *rawPeer {
			w := b.newPeer(t)
			w.send(rrq("f"))
			w.want(data(1, file[:512]))
			return w
		}
		honest := request()
		honest.send(ack(1))
		honest.want(data(2, file[512:1024]))
		var halfOpen []*rawPeer
		for range 20 {
			halfOpen = append(halfOpen, request())
		}
		honest.send(ack(2))
		honest.want(data(3, file[1024:]))
		honest.send(ack(3))
		if r := b.result(t, 0); r.Err != nil || r.Bytes != 1200 {
			t.Errorf("result %+v", r)
		}
		if n := b.Counters.GaveWay.Load(); n != 16 {
			t.Errorf("%d gave way, 16 should", n)
		}
		// They ended without a word, which would go to whoever owns the address.
		halfOpen[0].silent(50 * time.Millisecond)
		// The latest are there still.
		halfOpen[19].send(ack(1))
		halfOpen[19].want(data(2, file[512:1024]))
	})
}

// A client whose port is closed is not sent to for long: it has gone, or
// somebody asked in its name.
func TestClientGone(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(100_000)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) { change(s); s.Timing = Timing{} })
		for i, acked := range []int{0, 1} {
			gone := b.newPeer(t)
			gone.send(rrq("f"))
			gone.want(data(1, file[:512]))
			if acked > 0 {
				gone.send(ack(1))
				gone.want(data(2, file[512:1024]))
			}
			other := b.newPeer(t)
			other.send(rrq("f"))
			other.want(data(1, file[:512]))
			gone.conn.Close()
			// The next retransmission meets the closed port.
			if r := b.result(t, 2*i); !errors.Is(r.Err, errGone) || r.Resent != 1 || r.Took > 1100*time.Millisecond {
				t.Errorf("result %+v", r)
			}
			// Nobody else is the worse for it.
			for n := 1; n < 10; n++ {
				other.send(ack(n))
				other.until(data(n+1, file[n*512:(n+1)*512]))
			}
			other.send(errp(errCancelled))
			b.result(t, 2*i+1)
		}
	})
}

// The kernel tells of the closed port as well. The server has an address of its
// own, since Linux limits ICMP by destination.
func TestClientGoneByICMP(t *testing.T) {
	t.Parallel()
	file := pattern(100_000)
	b := serveOn(t, listen(t, "127.69.1.1:0"), map[string][]byte{"f": file}, nil)
	gone := b.newPeer(t)
	gone.send(rrq("f"))
	gone.want(data(1, file[:512]))
	gone.send(ack(1))
	gone.until(data(2, file[512:1024]))
	gone.conn.Close()
	if r := b.result(t, 0); !errors.Is(r.Err, errGone) {
		t.Errorf("result %+v", r)
	}
}

// Files that are open for nobody who answered give way to one that is asked for;
// those of clients that are there do not.
func TestFilesGiveWay(t *testing.T) {
	synctest.Test(t, testFilesGiveWay)
}

func testFilesGiveWay(t *testing.T) {
	files := map[string][]byte{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		files[name] = pattern(600)
	}
	b := serveMemory(t, files, func(s *Server) {
		s.Timing, s.Limits.Files = noTimeouts, 3
		open := s.Open
		s.Open = func(ctx context.Context, r *Request) (*Source, error) {
			src, err := open(ctx, r)
			if err == nil {
				src.Key = r.Name
			}
			return src, err
		}
	})
	ask := func(name string) *rawPeer {
		w := b.newPeer(t)
		w.send(rrq(name))
		return w
	}
	first := func(name string) *rawPeer {
		w := ask(name)
		w.want(data(1, files[name][:512]))
		return w
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		first(name)
	}
	for _, name := range []string{"a", "b", "c"} {
		w := first(name)
		w.send(ack(1))
		w.want(data(2, files[name][512:]))
	}
	ask("e").want(errp(errBusy))
	first("a")
	synctest.Wait()
	if n, m := b.Counters.Refused.Load(), b.count(0); n != 1 || m > 3 {
		t.Errorf("%d were refused, %d files are open", n, m)
	}
}
