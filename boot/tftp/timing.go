package tftp

import "time"

// Timing holds every timeout and retry of the protocol. The zero value of a
// field takes the default that its comment names.
//
// Before a peer was heard a packet goes out 1+First times. Each wait is twice
// the one before: 1+2+4+8 = 15 s by default. A spoofed address gets 4 packets.
//
// After that a sender waits the RTO, at least Min, and doubles it up to Max.
// With Retries 11 and a fast link it gives up after .025+.05+…+6.4+8+8+8 =
// 36.775 s. So a device may stop for half a minute to erase its flash. A
// receiver waits twice as long as a sender that measured the same link. So the
// sender's retransmission comes first: .05+.1+…+6.4+8+8+8+8 = 44.75 s.
//
// A timeout that a client asked for and was granted (RFC 2349) takes the place
// of the RTO. It is not doubled: 12 × 5 s = 60 s for a client that asks for 5.
// A server's waits end up to 4 ms later, see tick.
type Timing struct {
	// Initial is the RTO until a round trip was measured, RFC 6298 section 2.1:
	// 1 s.
	Initial time.Duration

	// Min is the floor of the RTO: 25 ms. RFC 6298's second is meant for the
	// Internet. On a LAN a packet that is lost in lockstep costs one Min.
	Min time.Duration

	Max     time.Duration // ceiling of the RTO: 8 s
	First   int           // retransmissions before the first answer: 3
	Retries int           // retransmissions in a row without progress: 11

	// Dally is how long the last ACK is repeated on request, RFC 1350 section 6:
	// 3 s. That is more than one retransmission of common servers.
	Dally time.Duration

	// Idle is how long a client may acknowledge nothing while others want its
	// place: 40 s. It is longer than any sender goes on without an answer. A
	// granted timeout is an exception, which may keep a place for most of an
	// hour.
	Idle time.Duration

	// LastWords is how long a server waits for what a client sent before it
	// closed its port: 20 ms. The kernel tells of the port first.
	LastWords time.Duration

	// SendWait is how long a full link may hold up a sender: 20 ms. What has
	// not left by then is lost.
	SendWait time.Duration

	// Gather is how long a client holds blocks before it writes them: 50 ms.
	// They are then written when the next block comes, or none does.
	Gather time.Duration
}

// WithDefaults fills in the fields that are zero.
func (t Timing) WithDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Initial, time.Second)
	def(&t.Min, 25*time.Millisecond)
	def(&t.Max, 8*time.Second)
	def(&t.Dally, 3*time.Second)
	def(&t.Idle, 40*time.Second)
	def(&t.LastWords, 20*time.Millisecond)
	def(&t.SendWait, 20*time.Millisecond)
	def(&t.Gather, 50*time.Millisecond)
	if t.First <= 0 {
		t.First = 3
	}
	if t.Retries <= 0 {
		t.Retries = 11
	}
	return t
}
