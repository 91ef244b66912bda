package pull

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Timing holds every timeout and retry of a pull.
//
// One protocol is given up when no byte came for Stall. A round asks each of n
// sources once, so it takes n × Stall at most when all of them are silent, and
// is followed by a wait of Backoff, 2 × Backoff, 4 × Backoff, … up to
// MaxBackoff, each drawn from its upper half so that a bench of devices does
// not come back in step. A new byte sets the wait back to Backoff. So
//
//   - after an outage of any length the first byte comes at most
//     n × Stall + MaxBackoff after the server is back: 75 s with the defaults
//     and three sources, 30 s where the outage refuses instead of being silent;
//   - a pull without one new byte ends between GiveUp − MaxBackoff and
//     GiveUp + 2n × Stall after the last one: the round that brought it may
//     end in n × Stall of silence, and so may the last round.
//
// Stall must be longer than the longest silence of a server that is well: the
// TFTP client resends several times within it, a TCP sender of a busy server
// is silent for its retransmission timeout, which doubles from 0.2 s to 6.4 s in 5 losses
// in a row (sum 12.6 s). GiveUp must be longer than what comes back by itself:
// a switch port in spanning tree (50 s), an appliance that reboots (2 min).
type Timing struct {
	Stall      time.Duration // without a byte ends one protocol's attempt
	Backoff    time.Duration // wait after the first round that failed
	MaxBackoff time.Duration // longest wait between two rounds
	GiveUp     time.Duration // without a new byte ends the pull; negative is never
}

// DefaultTiming holds for what is zero in a Puller's Timing.
var DefaultTiming = Timing{
	Stall:      15 * time.Second,
	Backoff:    time.Second,
	MaxBackoff: 30 * time.Second,
	GiveUp:     30 * time.Minute,
}

// orDefaults fills in what is zero.
func (t Timing) orDefaults() Timing {
	d := DefaultTiming
	return Timing{
		Stall:      cmp.Or(t.Stall, d.Stall),
		Backoff:    cmp.Or(t.Backoff, d.Backoff),
		MaxBackoff: cmp.Or(t.MaxBackoff, d.MaxBackoff),
		GiveUp:     cmp.Or(t.GiveUp, d.GiveUp),
	}
}

// wait is the pause after the given number of rounds, from 1, that brought
// nothing new.
func (t Timing) wait(rounds int) time.Duration {
	d := t.longest(rounds)
	return d/2 + rand.N(d/2+1)
}

// longest is the upper end of wait.
func (t Timing) longest(rounds int) time.Duration {
	d := t.Backoff
	for range rounds - 1 {
		if d >= t.MaxBackoff/2 {
			return t.MaxBackoff
		}
		d *= 2
	}
	return min(d, t.MaxBackoff)
}
