package ra

import (
	"cmp"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
)

// Timing of a Server. A field that is 0 stands for the default.
type Timing struct {
	wire.Timing

	// Listen is how long routers are listened for at start. One answers a
	// solicitation within 0.5 s, or within 3 s of its last answer (RFC 4861
	// section 10: MAX_RA_DELAY_TIME, MIN_DELAY_BETWEEN_RAS).
	Listen time.Duration
	// Solicit is the least time between our own solicitations after that. One
	// goes out with an answer of ours at most.
	Solicit time.Duration
	// Quiet is for how long a router that was heard counts as there. That is
	// three times the 600 s after which it says again that it is (RFC 4861
	// section 6.2.1), as for its own lifetime.
	Quiet time.Duration
}

// DefaultTiming is used where nothing else is said.
var DefaultTiming = Timing{
	Timing:  wire.DefaultTiming,
	Listen:  3500 * time.Millisecond,
	Solicit: 10 * time.Second,
	Quiet:   30 * time.Minute,
}

// OrDefault fills in the fields that are 0.
func (t Timing) OrDefault() Timing {
	return Timing{
		Timing:  t.Timing.OrDefault(),
		Listen:  cmp.Or(t.Listen, DefaultTiming.Listen),
		Solicit: cmp.Or(t.Solicit, DefaultTiming.Solicit),
		Quiet:   cmp.Or(t.Quiet, DefaultTiming.Quiet),
	}
}

// routers is what is known of other routers on the link.
type routers struct {
	timing   Timing
	listened time.Time // until then we only listen
	other    time.Time // until then another router counts as there
	asked    time.Time // when we last solicited
}

// newRouters begins when the first solicitation was sent.
func newRouters(t Timing, now time.Time) *routers {
	return &routers{timing: t, listened: now.Add(t.Listen), asked: now}
}

// A reaction is what a message calls for.
type reaction struct {
	report  bool // a router was not known to be there
	answer  bool
	solicit bool // a router may have come since
}

// message takes a message of another machine.
func (r *routers) message(kind byte, now time.Time) (do reaction) {
	switch {
	case kind == wire.RouterAdvertisement:
		do.report = now.After(r.other)
		r.other = now.Add(r.timing.Quiet)
	case now.After(r.listened) && now.After(r.other):
		do.answer = true
		if do.solicit = now.After(r.asked.Add(r.timing.Solicit)); do.solicit {
			r.asked = now
		}
	}
	return do
}
