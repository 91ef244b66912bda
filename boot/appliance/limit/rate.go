package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// A Rate bounds how many answers go to one address. Where they go is what a
// packet says of its relay or its sender, which may be forged. Without a bound
// a stranger could have us flood others.
//
// Addresses share buckets, so that memory is bounded. Which of them share is
// drawn at start. A Rate is safe for use by several goroutines.
type Rate struct {
	burst, perSecond float64
	seed             maphash.Seed

	mu      sync.Mutex
	buckets [256]bucket
}

// A bucket fills with each answer and drains with time.
type bucket struct {
	level float64
	at    time.Time // when level held
}

// NewRate allows so many answers at once to one address, and then so many a second.
func NewRate(burst, perSecond int) *Rate {
	return &Rate{burst: float64(burst), perSecond: float64(perSecond), seed: maphash.MakeSeed()}
}

// Take reports whether an answer may go to an address now, and counts it.
func (r *Rate) Take(to netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(to)
	b.level = max(b.level-now.Sub(b.at).Seconds()*r.perSecond, 0)
	b.at = now
	if b.level+1 > r.burst {
		return false
	}
	b.level++
	return true
}

func (r *Rate) bucket(of netip.Addr) *bucket {
	return &r.buckets[maphash.Comparable(r.seed, of)%uint64(len(r.buckets))]
}
