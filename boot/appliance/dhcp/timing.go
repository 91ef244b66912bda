package dhcp

import "time"

// Timing of the server and of Probe.
type Timing struct {
	// Pause follows a read error such as ENETDOWN, so that a link that is
	// down costs no CPU: it is back within the client's first retry, 4 s.
	Pause time.Duration
	// ProbeResend is the time between DISCOVERs of a probe: one may be lost.
	ProbeResend time.Duration
	// ProbeWait is how long a probe waits for a first answer. dnsmasq pings an
	// address for 3 s before it offers it, ISC dhcpd for 1 s; so 3 s, and one
	// DISCOVER later and its way back.
	ProbeWait time.Duration
	// ProbeMore is how long it then waits for others.
	ProbeMore time.Duration
	// Look is how often the interface is looked after: one that was away is
	// back within a client's first retry, 4 s.
	Look time.Duration
	// RouterWait is how long IPv6 routers are listened for at start. One
	// answers a solicitation within 0.5 s, or within 3 s of its last answer
	// (RFC 4861 section 10: MAX_RA_DELAY_TIME, MIN_DELAY_BETWEEN_RAS).
	RouterWait time.Duration
	// RouterAsk is the least time between our own solicitations after that, one
	// with an answer of ours at most.
	RouterAsk time.Duration
	// RouterQuiet is for how long one that was heard counts as there: three
	// times the 600 s after which it says again that it is (RFC 4861 section
	// 6.2.1), as its own lifetime does.
	RouterQuiet time.Duration
}

// DefaultTiming is used where nothing else is said.
var DefaultTiming = Timing{
	Pause:       200 * time.Millisecond,
	ProbeResend: time.Second,
	ProbeWait:   4500 * time.Millisecond,
	ProbeMore:   time.Second,
	Look:        2 * time.Second,
	RouterWait:  3500 * time.Millisecond,
	RouterAsk:   10 * time.Second,
	RouterQuiet: 30 * time.Minute,
}
