package dhcp

import (
	"cmp"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
)

// Timing of the server and of Probe. A field that is 0 stands for the default.
type Timing struct {
	wire.Timing

	// ProbeResend is the time between DISCOVERs of a probe: one may be lost.
	ProbeResend time.Duration
	// ProbeWait is how long a probe waits for a first answer. dnsmasq pings an
	// address for 3 s before it offers it, ISC dhcpd for 1 s. So 3 s, and one
	// DISCOVER later and its way back.
	ProbeWait time.Duration
	// ProbeMore is how long it then waits for others.
	ProbeMore time.Duration
}

// DefaultTiming is used where nothing else is said.
var DefaultTiming = Timing{
	Timing:      wire.DefaultTiming,
	ProbeResend: time.Second,
	ProbeWait:   4500 * time.Millisecond,
	ProbeMore:   time.Second,
}

// OrDefault fills in the fields that are 0.
func (t Timing) OrDefault() Timing {
	return Timing{
		Timing:      t.Timing.OrDefault(),
		ProbeResend: cmp.Or(t.ProbeResend, DefaultTiming.ProbeResend),
		ProbeWait:   cmp.Or(t.ProbeWait, DefaultTiming.ProbeWait),
		ProbeMore:   cmp.Or(t.ProbeMore, DefaultTiming.ProbeMore),
	}
}
