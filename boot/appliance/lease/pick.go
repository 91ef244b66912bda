package lease

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// The caller of everything here holds l.mu.

// pick chooses the address to offer, see Offer.
func (l *Leases) pick(c Client, n *Subnet, want netip.Addr, now time.Time) (netip.Addr, error) {
	if h, ok := l.host(c.MAC, n); ok {
		switch item, ok := l.book.get(h.Addr); {
		case ok && item.Value.Declined:
			return netip.Addr{}, fmt.Errorf("%w: its reserved address %s is in use on that link, as %s found", ErrExhausted, h.Addr, item.Value.MAC)
		case ok && item.Value.MAC != c.MAC:
			return netip.Addr{}, fmt.Errorf("%w: its reserved address %s is leased to %s until %s", ErrExhausted, h.Addr, item.Value.MAC, item.Expires.Format(time.RFC3339))
		}
		return h.Addr, nil
	}
	if addr, ok := l.has(c.MAC, n); ok {
		return addr, nil
	}
	if addr, ok := l.offers.to(c.MAC, now); ok && l.free(c, n, addr, now) {
		return addr, nil
	}
	if n.pooled(want) && l.free(c, n, want, now) && !l.offers.has(want, now) {
		return want, nil
	}
	// Where every free address is on offer the oldest offer gives way. So
	// whoever asks without taking cannot lock others out.
	var oldest netip.Addr
	var until time.Time
	for addr := range n.from(start(c.MAC[:])) {
		if l.free(c, n, addr, now) {
			end, offered := l.offers.until(addr, now)
			if !offered {
				return addr, nil
			}
			if !oldest.IsValid() || end.Before(until) {
				oldest, until = addr, end
			}
		}
	}
	if oldest.IsValid() {
		return oldest, nil
	}
	if n.size() == 0 {
		return netip.Addr{}, fmt.Errorf("%w: subnet %s has no pool, and no host is configured with this MAC", ErrExhausted, n.Prefix)
	}
	return netip.Addr{}, fmt.Errorf("%w: every address of %s-%s is taken", ErrExhausted, n.PoolFrom, n.PoolTo)
}

// start spreads clients over a pool.
func start(client []byte) uint64 {
	h := fnv.New32a()
	h.Write(client)
	return uint64(h.Sum32())
}

// mayHave holds whether a client may be given an address it asks for.
func (l *Leases) mayHave(c Client, n *Subnet, addr netip.Addr, now time.Time) error {
	if h, ok := l.host(c.MAC, n); ok {
		if h.Addr != addr {
			return fmt.Errorf("%w: %s is reserved for it", ErrWrong, h.Addr)
		}
		if !l.book.open(addr, macHolder(c.MAC), now) {
			return fmt.Errorf("%w: it is taken", ErrWrong)
		}
		return nil
	}
	if own, ok := l.has(c.MAC, n); ok && own != addr {
		return fmt.Errorf("%w: it has %s", ErrWrong, own)
	}
	switch {
	case !n.Prefix.Contains(addr):
		return fmt.Errorf("%w: not in subnet %s", ErrWrong, n.Prefix)
	case !n.pooled(addr):
		return fmt.Errorf("%w: not in the pool", ErrWrong)
	case !l.free(c, n, addr, now):
		return fmt.Errorf("%w: it is taken", ErrWrong)
	}
	return nil
}

// has returns the address that a MAC has in a subnet.
func (l *Leases) has(mac boot.MAC, n *Subnet) (netip.Addr, bool) {
	for _, addr := range l.book.of(macHolder(mac), false) {
		if n.Prefix.Contains(addr) && (n.pooled(addr) || l.owner[addr] == mac) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// free reports whether a client could be given an address as far as others'
// leases and reservations go. Offers are not looked at.
func (l *Leases) free(c Client, n *Subnet, addr netip.Addr, now time.Time) bool {
	if !n.pooled(addr) || !n.usable(addr) || addr == n.Router || addr == c.At || slices.Contains(n.DNS, addr) {
		return false
	}
	if !l.book.open(addr, macHolder(c.MAC), now) {
		return false
	}
	mac, reserved := l.owner[addr]
	return !reserved || mac == c.MAC
}

// host returns the reservation of a MAC in a subnet.
func (l *Leases) host(mac boot.MAC, n *Subnet) (Host, bool) {
	for _, h := range l.hosts {
		if h.MAC == mac && n.Prefix.Contains(h.Addr) {
			return h, true
		}
	}
	return Host{}, false
}
