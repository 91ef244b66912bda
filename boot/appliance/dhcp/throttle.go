package dhcp

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// A throttle bounds how many answers go by IP to one address. Where they go is
// what a packet says of its relay or its sender, and nobody can tell whether
// that is true: without a bound we would flood whom a stranger names.
//
// Addresses share the buckets, so that memory is bounded; which ones share is
// drawn at start.
type throttle struct {
	seed maphash.Seed

	mu      sync.Mutex
	buckets [256]bucket
}

// A bucket has room for burst answers, and is emptied at rate.
type bucket struct {
	full float64
	at   time.Time
}

// A relay may have a bench of 400 machines behind it that were switched on at
// once, each with a DISCOVER and a REQUEST; the next that each sends is 4 s
// off. 200 answers of 576 bytes a second are 0.9 Mbit/s.
const (
	throttleBurst = 1000
	throttleRate  = 200 // a second
)

var errThrottled = errors.New("too many answers to that address")

func newThrottle() *throttle { return &throttle{seed: maphash.MakeSeed()} }

// take reports whether an answer may go to an address now.
func (t *throttle) take(to netip.Addr, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(to)
	b.full = max(b.full-now.Sub(b.at).Seconds()*throttleRate, 0)
	b.at = now
	if b.full+1 > throttleBurst {
		return false
	}
	b.full++
	return true
}

func (t *throttle) bucket(of netip.Addr) *bucket {
	return &t.buckets[maphash.Comparable(t.seed, of)%uint64(len(t.buckets))]
}
