package tftp

import (
	"testing"
	"time"
)

// total adds up the waits of a packet that is sent 1+resends times.
func total(r *rto, resends, factor int) (sum time.Duration) {
	for range resends + 1 {
		sum += min(time.Duration(factor)*r.timeout(), r.timing.Max)
		r.backoff()
	}
	return sum
}

// The sums that Timing's comment promises.
func TestTimingSums(t *testing.T) {
	def := Timing{}.WithDefaults()
	if got := total(newRTO(def), def.First, 1); got != 15*time.Second {
		t.Errorf("before the first answer: %v", got)
	}
	fast := func() *rto {
		r := newRTO(def)
		r.sample(100 * time.Microsecond)
		return r
	}
	if got := total(fast(), def.Retries, 1); got != 36775*time.Millisecond {
		t.Errorf("sender: %v", got)
	}
	if got := total(fast(), def.Retries, 2); got != 44750*time.Millisecond {
		t.Errorf("receiver: %v", got)
	}
	r := fast()
	r.fixed = 5 * time.Second
	if got := total(r, def.Retries, 1); got != 60*time.Second {
		t.Errorf("granted timeout: %v", got)
	}
}

// RFC 6298 section 2, with numbers worked out by hand.
func TestRTO(t *testing.T) {
	r := newRTO(Timing{}.WithDefaults())
	if r.timeout() != time.Second || r.grace() != time.Second {
		t.Errorf("before a sample: %v, %v", r.timeout(), r.grace())
	}
	r.sample(100 * time.Millisecond) // SRTT 100, RTTVAR 50
	if r.timeout() != 300*time.Millisecond {
		t.Errorf("first sample: %v", r.timeout())
	}
	r.sample(180 * time.Millisecond) // RTTVAR 50+(80-50)/4 = 57.5, SRTT 110
	if r.timeout() != 340*time.Millisecond {
		t.Errorf("second sample: %v", r.timeout())
	}
	r.backoff()
	if r.timeout() != 680*time.Millisecond {
		t.Errorf("backoff: %v", r.timeout())
	}
	for range 100 {
		r.sample(50 * time.Microsecond)
	}
	if r.timeout() != 25*time.Millisecond || r.grace() != 2500*time.Microsecond {
		t.Errorf("floor: %v, grace %v", r.timeout(), r.grace())
	}
	for range 20 {
		r.backoff()
	}
	if r.timeout() != 8*time.Second {
		t.Errorf("ceiling: %v", r.timeout())
	}
}
