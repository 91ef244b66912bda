package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// A Rate bounds how many answers a second go to one address. A packet names
// that address, as its relay or sender, and may be forged. Without a bound
// anybody could make us flood others.
//
// Addresses share buckets, so that memory is bounded. A random seed decides
// which ones share. A Rate is safe for use by several goroutines.
type Rate struct {
	burst, perSecond float64
	seed             maphash.Seed

	mu      sync.Mutex
	buckets [256]bucket
}

// A bucket fills with each answer and drains over time.
type bucket struct {
	level float64
	at    time.Time // when level was computed
}

// NewRate allows a burst of answers to one address, and then perSecond.
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

func (r *Rate) bucket(addr netip.Addr) *bucket {
	return &r.buckets[maphash.Comparable(r.seed, addr)%uint64(len(r.buckets))]
}
