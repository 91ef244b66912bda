package tftp

import (
	"testing"
	"time"
)

// Requests that nobody answers for keep no client out, and no transfer that is
// under way gives way to them.
func TestHalfOpenGiveWay(t *testing.T) {
	both(t, func(t *testing.T, change func(*Server)) {
		file := pattern(1200)
		b := serve(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing = patient
			s.Limits = Limits{HalfOpen: 4, PerClient: 2}
		})
		request := func() *wire {
			w := newWire(t, b.addr)
			w.send(rrq("f"))
			w.want(data(1, file[:512]))
			return w
		}
		honest := request()
		honest.send(ack(1))
		honest.want(data(2, file[512:1024]))
		var halfOpen []*wire
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
