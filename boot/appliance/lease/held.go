package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// The caller of everything here holds l.mu.

// put writes an address's record, or deletes it for the zero record. Where
// another appliance changed it, its word is taken over and ErrWrong returned.
func (l *Leases) put(ctx context.Context, addr netip.Addr, r record, expires time.Time) error {
	var value []byte
	if r.V != 0 {
		var err error
		if value, err = json.Marshal(r); err != nil {
			return err
		}
	}
	rev := uint64(0)
	// An expired entry is as good as deleted for the store.
	if h, ok := l.lookup(addr, time.Now()); ok {
		rev = h.rev
	}
	key := prefix + addr.String()
	e, err := l.store.Swap(ctx, key, rev, value, expires)
	if errors.Is(err, store.ErrConflict) {
		l.forget(addr)
		if e, err := l.store.Get(ctx, key); err == nil {
			if _, h, err := parse(e); err == nil {
				l.remember(addr, h)
			}
		}
		return fmt.Errorf("%w: another appliance gave it away", ErrWrong)
	}
	if err != nil {
		return err
	}
	l.forget(addr)
	if value != nil {
		l.remember(addr, held{record: r, rev: e.Rev, expires: e.Expires})
	}
	return nil
}

func (l *Leases) remember(addr netip.Addr, h held) {
	l.held[addr] = h
	if !h.Declined {
		l.of[h.MAC] = append(l.of[h.MAC], addr)
	}
}

func (l *Leases) forget(addr netip.Addr) {
	h, ok := l.held[addr]
	if !ok {
		return
	}
	delete(l.held, addr)
	list := slices.DeleteFunc(l.of[h.MAC], func(a netip.Addr) bool { return a == addr })
	if len(list) == 0 {
		delete(l.of, h.MAC)
	} else {
		l.of[h.MAC] = list
	}
}

// lookup returns what holds for an address now.
func (l *Leases) lookup(addr netip.Addr, now time.Time) (held, bool) {
	h, ok := l.held[addr]
	if ok && !now.Before(h.expires) {
		l.forget(addr)
		return held{}, false
	}
	return h, ok
}

// has returns the address that a MAC has in a subnet.
func (l *Leases) has(mac boot.MAC, n *Subnet, now time.Time) (netip.Addr, bool) {
	for _, addr := range slices.Clone(l.of[mac]) {
		if _, ok := l.lookup(addr, now); ok && n.Prefix.Contains(addr) && (n.pooled(addr) || l.owner[addr] == mac) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// declined counts the addresses in quarantine by a MAC's word.
func (l *Leases) declined(mac boot.MAC, now time.Time) (n int) {
	for _, h := range l.held {
		if h.Declined && h.MAC == mac && now.Before(h.expires) {
			n++
		}
	}
	return n
}

// free reports whether a client could be given an address as far as others'
// leases and reservations go. Offers are not looked at.
func (l *Leases) free(c Client, n *Subnet, addr netip.Addr, now time.Time) bool {
	if !n.pooled(addr) || !n.usable(addr) || addr == n.Router || addr == c.At || slices.Contains(n.DNS, addr) {
		return false
	}
	if h, ok := l.lookup(addr, now); ok && (h.Declined || h.MAC != c.MAC) {
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

func (l *Leases) subnet(at netip.Addr) (*Subnet, error) {
	for i := range l.subnets {
		if l.subnets[i].Prefix.Contains(at) {
			return &l.subnets[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoSubnet, at)
}

func (l *Leases) lease(c Client, n *Subnet, addr netip.Addr, expires time.Time) Lease {
	lease := Lease{Addr: addr, MAC: c.MAC, ID: c.ID, Subnet: *n, Expires: expires}
	if h, ok := l.host(c.MAC, n); ok && h.Addr == addr {
		lease.Name = h.Name
	}
	return lease
}
