package agent

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Timing holds every timeout and retry of the agent. Waits that double are drawn
// from their upper half. So a bench that was switched on at once does not come
// back in step.
//
// Discovery: DISCOVER leaves at 0, 1, 3, 7, 15, 23, 31, … s at most, and at half
// of that at least. A switch port in spanning tree swallows the first 30 s
// (802.1D without RSTP: 2 × 15 s), often 50. After it opens the next DISCOVER is
// at most DiscoverMax away. The offer follows within 3 s, even where the server
// pings an address before it offers it. Then Collect passes: 14 s at most. All
// DISCOVERs of a link carry one transaction ID, so a late offer still counts.
//
// Request: its tries of 2, 4 and 8 s are 14 s. That is less than OfferAge, for
// which servers keep an offered address. Then discovery begins again.
type Timing struct {
	Settle      time.Duration // without a new disk: all that are there have shown up
	LinkPoll    time.Duration // between two looks for cards whose drivers took their time
	CarrierPoll time.Duration // between two looks for a cable
	Discover    time.Duration // wait for an offer after the first DISCOVER, doubles
	DiscoverMax time.Duration
	Collect     time.Duration // after the first offer, for better ones
	OfferAge    time.Duration // servers keep an offered address for the client for some 30 to 60 s
	Request     time.Duration // wait for an ACK, doubles
	Requests    int           // tries of that
	RenewMin    time.Duration // between two tries to renew (RFC 2131 section 4.4.5: 60 s)
	Say         time.Duration // between two lines on the console about what is waited for

	Plan    time.Duration // between two tries to fetch a plan, doubles
	PlanMax time.Duration
	Lost    time.Duration // without an answer from the appliance, and one more try: it is looked for anew
	Poll    time.Duration // between two plans of a machine that waits

	Post      time.Duration // one POST of events, from dialling to its answer
	Report    time.Duration // between two tries of that, doubles
	ReportMax time.Duration
	Progress  time.Duration // between two reports of progress
	Farewell  time.Duration // patience with a report that the machine can leave without

	Retry    time.Duration // before a job that failed is begun again, doubles
	RetryMax time.Duration
	Pause    time.Duration // before the machine is reset because of a failure, so that it does not spin
}

// DefaultTiming is for real hardware.
var DefaultTiming = Timing{
	Settle:      time.Second,
	LinkPoll:    time.Second,
	CarrierPoll: 200 * time.Millisecond,
	Discover:    time.Second,
	DiscoverMax: 8 * time.Second,
	Collect:     3 * time.Second,
	OfferAge:    30 * time.Second,
	Request:     2 * time.Second,
	Requests:    3,
	RenewMin:    time.Minute,
	Say:         10 * time.Second,

	Plan:    time.Second,
	PlanMax: 10 * time.Second,
	Lost:    2 * time.Minute,
	Poll:    30 * time.Second,

	Post:      10 * time.Second,
	Report:    time.Second,
	ReportMax: 15 * time.Second,
	Progress:  time.Second,
	Farewell:  30 * time.Second,

	Retry:    5 * time.Second,
	RetryMax: time.Minute,
	Pause:    30 * time.Second,
}

// orDefaults fills in what is zero.
func (t Timing) orDefaults() Timing {
	d := DefaultTiming
	defaults := d.durations()
	for i, mine := range t.durations() {
		*mine = cmp.Or(*mine, *defaults[i])
	}
	t.Requests = cmp.Or(t.Requests, d.Requests)
	return t
}

// durations are the fields that are one.
func (t *Timing) durations() []*time.Duration {
	return []*time.Duration{
		&t.Settle, &t.LinkPoll, &t.CarrierPoll, &t.Discover, &t.DiscoverMax,
		&t.Collect, &t.OfferAge, &t.Request, &t.RenewMin, &t.Say, &t.Plan,
		&t.PlanMax, &t.Lost, &t.Poll, &t.Post, &t.Report, &t.ReportMax,
		&t.Progress, &t.Farewell, &t.Retry, &t.RetryMax, &t.Pause,
	}
}

// A backoff yields waits that double from first to most.
type backoff struct {
	first, most time.Duration
	next        time.Duration
}

// wait returns the next wait, drawn from its upper half.
func (b *backoff) wait() time.Duration {
	d := b.longest()
	return d/2 + rand.N(d/2+1)
}

// longest is the upper end of wait, and takes its place.
func (b *backoff) longest() time.Duration {
	if b.next == 0 {
		b.next = b.first
	}
	d := min(b.next, b.most)
	b.next = min(2*d, b.most)
	return d
}

func (b *backoff) reset() { b.next = 0 }
