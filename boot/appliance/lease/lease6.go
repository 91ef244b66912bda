package lease

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// maxPicks bounds how often Bind picks anew, where another appliance or another
// request took what it had picked.
const maxPicks = 8

// A Client6 is who wants an IPv6 address: one IA_NA (RFC 8415 section 21.4) of
// one client.
type Client6 struct {
	DUID []byte
	IAID [4]byte
	MAC  boot.MAC   // for people to see; zero where unknown
	At   netip.Addr // our address on its link. It is never given away
}

func (c Client6) holder() holder { return c.record().holder() }
func (c Client6) record() record {
	return record{V: 1, MAC: c.MAC, DUID: c.DUID, IAID: c.IAID[:]}
}

func (c Client6) String() string { return fmt.Sprintf("DUID %x, IAID %x", c.DUID, c.IAID) }

// Leases6 hands out the IPv6 addresses of its subnets. Its methods may be called
// from several goroutines. The memory it takes is bounded by the pools.
type Leases6 struct {
	book    *book
	subnets subnets
	timing  Timing
}

// New6 reads the leases that the store holds, and follows them until ctx ends.
// The error names the subnet that is wrong.
func New6(ctx context.Context, s store.Store, nets []Subnet, log *slog.Logger) (*Leases6, error) {
	l := &Leases6{subnets: withDefaults(nets), timing: DefaultTiming}
	if err := check6(l.subnets); err != nil {
		return nil, err
	}
	var err error
	l.book, err = openBook(ctx, s, prefix6, log)
	return l, err
}

// Offer picks an address for a client that solicits (RFC 8415 section 18.3.1).
// It remembers nothing of it. Errors wrap ErrNoSubnet or ErrExhausted.
//
// In order it is one that the client wants and may have, the one it has, or one
// that follows from who it is. So a machine tends to get the same again.
func (l *Leases6) Offer(c Client6, want []netip.Addr) (Lease, error) {
	n, addr, err := l.pick(c, want)
	if err != nil {
		return Lease{}, fmt.Errorf("offer an address to %s: %w", c, err)
	}
	return c.lease(n, addr, time.Now().Add(n.Lease)), nil
}

// Bind gives a client an address at its REQUEST (section 18.3.2), and keeps
// that in the store. It picks as Offer does.
func (l *Leases6) Bind(ctx context.Context, c Client6, want []netip.Addr) (Lease, error) {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	err := error(ErrExhausted)
	for range maxPicks {
		var n *Subnet
		var addr netip.Addr
		if n, addr, err = l.pick(c, want); err != nil {
			break
		}
		var lease Lease
		if lease, err = l.set(ctx, c, n, addr); err == nil {
			return lease, nil
		}
		if !errors.Is(err, ErrWrong) {
			break
		}
	}
	return Lease{}, fmt.Errorf("lease an address to %s: %w", c, err)
}

// Renew gives a client for longer what it has, at a RENEW or REBIND (sections
// 18.3.4 and 18.3.5). Of the addresses that it names it may keep one. The
// others are gone: it is told that they have no lifetime left. An address that
// nobody has may be its own from before: it may keep it. The zero Lease: it may
// keep none.
func (l *Leases6) Renew(ctx context.Context, c Client6, addrs []netip.Addr) (lease Lease, gone []netip.Addr, err error) {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	n, err := l.subnets.of(c.At)
	if err != nil {
		return Lease{}, nil, fmt.Errorf("renew addresses of %s: %w", c, err)
	}
	for _, addr := range addrs {
		err := ErrWrong
		if !lease.Addr.IsValid() && l.free(c, n, addr, c.holder(), time.Now()) {
			lease, err = l.set(ctx, c, n, addr)
		}
		switch {
		case errors.Is(err, ErrWrong):
			gone = append(gone, addr)
		case err != nil:
			return Lease{}, nil, fmt.Errorf("renew %s of %s: %w", addr, c, err)
		}
	}
	return lease, gone, nil
}

// Release ends a client's lease before its time (section 18.3.7). ErrWrong: it
// has none of that address.
func (l *Leases6) Release(ctx context.Context, c Client6, addr netip.Addr) error {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	if err := l.book.free(ctx, addr, c.holder()); err != nil {
		return fmt.Errorf("release %s by %s: %w", addr, c, err)
	}
	return nil
}

// Decline takes an address out of use for a while: its client found another
// machine there (section 18.3.8). Only who has it is believed, and not without
// end; ErrWrong.
func (l *Leases6) Decline(ctx context.Context, c Client6, addr netip.Addr) error {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	item, ok := l.book.get(addr)
	err := ErrWrong
	if ok && item.Value.of(c.holder()) {
		err = l.book.decline(ctx, addr, c.record(), time.Now().Add(l.timing.Quarantine))
	}
	if err != nil {
		return fmt.Errorf("decline %s by %s: %w", addr, c, err)
	}
	return nil
}

// List returns the leases that hold now, by address.
func (l *Leases6) List() []Lease {
	return l.book.list(func(addr netip.Addr, r record, expires time.Time) (Lease, bool) {
		n, err := l.subnets.of(addr)
		if err != nil {
			return Lease{}, false
		}
		return Client6{DUID: r.DUID, MAC: r.MAC}.lease(n, addr, expires), true
	})
}

func (c Client6) lease(n *Subnet, addr netip.Addr, expires time.Time) Lease {
	return Lease{Addr: addr, MAC: c.MAC, ID: c.DUID, Subnet: *n, Expires: expires}
}

// set writes a lease, unless it lasts for long enough already.
func (l *Leases6) set(ctx context.Context, c Client6, n *Subnet, addr netip.Addr) (Lease, error) {
	told := time.Now().Add(n.Lease)
	item, ok := l.book.get(addr)
	if !ok || !item.Value.of(c.holder()) || item.Expires.Before(told) {
		if err := l.book.set(ctx, addr, c.record(), told.Add(n.Lease/grace)); err != nil {
			return Lease{}, err
		}
	}
	return c.lease(n, addr, told), nil
}

// pick chooses an address, see Offer.
func (l *Leases6) pick(c Client6, want []netip.Addr) (*Subnet, netip.Addr, error) {
	n, err := l.subnets.of(c.At)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	who, now := c.holder(), time.Now()
	for _, a := range append(want[:len(want):len(want)], l.book.of(who, false)...) {
		if l.free(c, n, a, who, now) {
			return n, a, nil
		}
	}
	h := fnv.New64a()
	h.Write([]byte(who))
	for a := range n.from(h.Sum64()) {
		if l.free(c, n, a, who, now) {
			return n, a, nil
		}
	}
	return nil, netip.Addr{}, fmt.Errorf("%w: every address of %s-%s is taken", ErrExhausted, n.PoolFrom, n.PoolTo)
}

// free reports whether a client may have an address.
func (l *Leases6) free(c Client6, n *Subnet, addr netip.Addr, h holder, now time.Time) bool {
	return n.pooled(addr) && n.usable(addr) && addr != c.At && l.book.open(addr, h, now)
}
