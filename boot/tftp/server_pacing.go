package tftp

import "time"

const (
	maxBursts = 8 // that a window leaves in

	// minBlockTime is the shortest pause a block: a block at some 1 Gbit/s.
	minBlockTime = 10 * time.Microsecond

	// minPause is what a timer can keep. A shorter pause is none.
	minPause = 50 * time.Microsecond
)

// pacing is how a window leaves. A device's ring may be smaller than the
// window, so that the end of each window is lost. All of it must be sent all
// the same, since a receiver acknowledges no less (RFC 7440 section 4). So the
// window leaves in bursts.
type pacing struct {
	burst    int           // blocks that are sent at a time
	perBlock time.Duration // pause after a burst, for each of its blocks
	paused   bool          // between two bursts
}

// shrink halves the burst.
func (p *pacing) shrink(window int) { p.burst = min(p.burst, max(p.burst/2, window/maxBursts, 1)) }

// grow takes an eighth of that back.
func (p *pacing) grow(window int) { p.burst = min(p.burst+max(window/16, 1), window) }

// overrun doubles the pause after a timeout, when not even the window's last
// block was acknowledged. It starts at RTT/8 a block. It is capped so that a
// window still fits into one RTO.
func (p *pacing) overrun(r *rto, window int) {
	p.perBlock = min(max(2*p.perBlock, r.srtt/8, minBlockTime), r.measured/time.Duration(window))
}

// relax shortens the pause after an ACK without a timeout. It does so by an
// eighth, or by half if the loss was within the first burst: no ring is too
// small for that, so the link lost it.
func (p *pacing) relax(w *window, acked int64) {
	switch part := acked - w.acked; {
	case w.resends > 0:
	case acked < w.high && part < int64(w.size/maxBursts):
		p.perBlock /= 2
	default:
		p.perBlock -= p.perBlock / 8
	}
}

// pauseBurst pauses after a burst, and returns false where that is too short.
func (t *transfer) pauseBurst() bool {
	pause := t.pace.perBlock * time.Duration(t.pace.burst)
	if pause <= minPause {
		return false
	}
	t.pace.paused = true
	t.e.timers.set(t, t.e.now.Add(pause))
	return true
}
