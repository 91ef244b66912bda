package tftp

import "time"

// Timing holds every timeout and retry of the protocol. The zero value of a
// field takes the default that its comment names.
//
// Before a peer was heard a packet goes out 1+First times, each wait twice the
// one before: 1+2+4+8 = 15 s by default, and a spoofed address gets 4 packets.
//
// After that a sender waits the RTO, at least Min, and doubles it up to Max:
// with Retries 11 and a fast link .025+.05+…+6.4+8+8+8 = 36.775 s until it gives
// up, so that a device may stop for half a minute to erase its flash. A
// receiver waits twice as long as a sender that measured the same link would,
// so that the sender's resend comes first: .05+.1+…+6.4+8+8+8+8 = 44.75 s.
//
// A timeout that a client asked for and was granted (RFC 2349) takes the place
// of the RTO and is not doubled: 12 × 5 s = 60 s for a client that asks for 5.
//
// A server's waits end up to 4 ms later, see tick.
type Timing struct {
	Initial time.Duration // RTO until a round trip was measured, RFC 6298 section 2.1: 1 s
	Min     time.Duration // floor of the RTO; RFC 6298's second is meant for the Internet, a LAN, where a packet lost in lockstep costs one, wants 25 ms
	Max     time.Duration // ceiling of the RTO: 8 s
	First   int           // resends before the first answer: 3
	Retries int           // resends in a row without progress: 11
	Dally   time.Duration // how long the last ACK is repeated on request, RFC 1350 section 6: 3 s, which is more than one resend of common servers
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Initial, time.Second)
	def(&t.Min, 25*time.Millisecond)
	def(&t.Max, 8*time.Second)
	def(&t.Dally, 3*time.Second)
	if t.First <= 0 {
		t.First = 3
	}
	if t.Retries <= 0 {
		t.Retries = 11
	}
	return t
}

// An rto is the retransmission timeout of one transfer, as in RFC 6298
// section 2, from round trips of packets that were sent once (Karn).
type rto struct {
	timing       Timing
	fixed        time.Duration // a granted timeout; 0: measure
	srtt, rttvar time.Duration // 0: none measured yet
	measured     time.Duration // from them, or Initial
	value        time.Duration // measured, doubled by timeouts
}

func newRTO(t Timing) *rto { return &rto{timing: t, measured: t.Initial, value: t.Initial} }

// wait returns the timeout that holds now.
func (r *rto) wait() time.Duration {
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

// ease takes half of the doubling back. It is called for progress that needed no
// timeout: on a link that loses one packet in twenty hardly a window of 64 comes
// whole, so that a round trip could be measured, and each timeout would count
// for the rest of the transfer.
func (r *rto) ease() { r.value = max(r.value/2, r.measured) }

// grace is how long a sender in windows waits for a better ACK after one that
// may stand for a gap or be a duplicate: a round trip at its worst, with a floor
// of a tenth of the RTO's.
func (r *rto) grace() time.Duration {
	if r.srtt == 0 {
		return r.wait()
	}
	return min(max(r.srtt+4*r.rttvar, r.timing.Min/10), r.wait())
}
