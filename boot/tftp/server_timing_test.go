package tftp

import (
	"errors"
	"testing"
	"time"
)

// Timeouts of a server that sends: 36.775 s after the client fell silent it
// gives up, and not before. With a granted timeout of 5 s it is a minute.
func TestClientFallsSilent(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []string
		least   time.Duration
	}{
		{"measured", nil, 36775 * time.Millisecond},
		{"granted", []string{"timeout", "5"}, 60 * time.Second},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			file := pattern(2000)
			b := serveMemory(t, map[string][]byte{"f": file}, nil)
			w := b.newPeer(t)
			w.send(rrq("f", tt.options...))
			if tt.options != nil {
				w.want([]byte("\x00\x06timeout\x005\x00"))
				w.send(ack(0))
			}
			w.want(data(1, file[:512]))
			w.send(ack(1))
			start := time.Now()
			r := b.result(t, 0)
			if took := time.Since(start); took < tt.least || took > tt.least+13*tick {
				t.Errorf("given up after %v, want %v", took, tt.least)
			}
			if !errors.Is(r.Err, errSilent) || r.Resent != 11 || r.Bytes != 512 {
				t.Errorf("result %+v", r)
			}
		})
	}
}

// Beyond the limits an idle download makes room after Timing.Idle, and not
// before.
func TestIdleMakesRoom(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		file := pattern(2000)
		b := serveMemory(t, map[string][]byte{"f": file}, func(s *Server) {
			change(s)
			s.Timing, s.Limits.Transfers = Timing{}, 1
		})
		idle := b.newPeer(t)
		idle.send(rrq("f", "timeout", "255"))
		idle.want([]byte("\x00\x06timeout\x00255\x00"))
		idle.send(ack(0))
		idle.want(data(1, file[:512]))
		time.Sleep(39 * time.Second)
		other := b.newPeer(t)
		other.send(rrq("f"))
		other.want(errp(errBusy))
		time.Sleep(2 * time.Second)
		other.peer = b.addr
		other.send(rrq("f"))
		other.want(data(1, file[:512]))
		idle.want(errp(errBusy))
	})
}
