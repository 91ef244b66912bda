package tftp

import "time"

// An rto is the retransmission timeout of one transfer, as in RFC 6298 section
// 2. It measures round trips of packets that were sent once (Karn).
type rto struct {
	timing       Timing
	fixed        time.Duration // a granted timeout; 0: measure
	srtt, rttvar time.Duration // 0: none measured yet
	measured     time.Duration // from them, or Initial
	value        time.Duration // measured, doubled by timeouts
}

func newRTO(t Timing) *rto { return &rto{timing: t, measured: t.Initial, value: t.Initial} }

// timeout returns the timeout that holds now.
func (r *rto) timeout() time.Duration {
	if r.fixed > 0 {
		return r.fixed
	}
	return r.value
}

// sample takes the round trip of a packet that was sent once.
func (r *rto) sample(rtt time.Duration) {
	rtt = max(rtt, 1)
	if r.srtt == 0 {
		r.srtt, r.rttvar = rtt, rtt/2
	} else {
		r.rttvar += ((r.srtt - rtt).Abs() - r.rttvar) / 4
		r.srtt += (rtt - r.srtt) / 8
	}
	r.measured = min(max(r.srtt+4*r.rttvar, r.timing.Min), r.timing.Max)
	r.value = r.measured
}

// backoff doubles the timeout, RFC 6298 section 5.5.
func (r *rto) backoff() { r.value = min(2*r.value, r.timing.Max) }

// ease undoes half of the backoff. It is called for progress that needed no
// timeout. On a link that loses one packet in twenty hardly a window of 64
// comes whole, so no round trip is measured. Without ease each timeout would
// count for the rest of the transfer.
func (r *rto) ease() { r.value = max(r.value/2, r.measured) }

// grace is how long a sender in windows waits for a better ACK after one that
// may stand for a gap or be a duplicate. It is a round trip at its worst, with
// a floor of a tenth of the RTO's.
func (r *rto) grace() time.Duration {
	if r.srtt == 0 {
		return r.timeout()
	}
	return min(max(r.srtt+4*r.rttvar, r.timing.Min/10), r.timeout())
}
