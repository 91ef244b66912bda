package dhcp6

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// A pool is who has which address of a subnet, in memory alone. It is called
// from one goroutine.
//
// Which address a client gets follows from its identifier, so that it tends to
// get the same again. After a restart a client that renews keeps what it has.
// Until then another may be given that address. It finds the address in use
// (RFC 4862 section 5.4) and declines.
type pool struct {
	subnet lease.Subnet
	ours   netip.Addr
	held   map[netip.Addr]held // as many as the pool has, 65536 at most
}

// A held address belongs to a client until a time.
type held struct {
	client string // lease.Client.ID; "": it was declined
	until  time.Time
}

func newPool(subnet lease.Subnet, ours netip.Addr) *pool {
	return &pool{subnet: subnet, ours: ours, held: map[netip.Addr]held{}}
}

// offer finds an address: one that the client wants, else the first free one
// behind that which follows from its identifier. It remembers nothing. The
// error is lease.ErrExhausted.
func (p *pool) offer(c lease.Client, want []netip.Addr) (netip.Addr, error) {
	now := time.Now()
	for _, a := range want {
		if p.free(a, c, now) {
			return a, nil
		}
	}
	h := fnv.New64a()
	h.Write(c.ID)
	from, to := p.subnet.PoolFrom.As16(), p.subnet.PoolTo.As16() // they differ in the last eight bytes
	first := binary.BigEndian.Uint64(from[8:])
	n := binary.BigEndian.Uint64(to[8:]) - first + 1
	begin := h.Sum64() % n
	for i := range n {
		binary.BigEndian.PutUint64(from[8:], first+(begin+i)%n)
		if a := netip.AddrFrom16(from); p.free(a, c, now) {
			return a, nil
		}
	}
	return netip.Addr{}, lease.ErrExhausted
}

// bind gives an address to a client for the term of the subnet. The error is
// lease.ErrWrong where it is another's, or none of the pool.
func (p *pool) bind(_ context.Context, c lease.Client, a netip.Addr) error {
	now := time.Now()
	if !p.free(a, c, now) {
		return lease.ErrWrong
	}
	p.held[a] = held{string(c.ID), now.Add(p.subnet.Lease)}
	return nil
}

// release ends a client's lease. The error is lease.ErrWrong where it has none.
func (p *pool) release(_ context.Context, c lease.Client, a netip.Addr) error {
	if p.held[a].client != string(c.ID) {
		return lease.ErrWrong
	}
	delete(p.held, a)
	return nil
}

// decline ends a client's lease of an address that it found in use. Nobody gets
// that for a while.
func (p *pool) decline(ctx context.Context, c lease.Client, a netip.Addr) error {
	if err := p.release(ctx, c, a); err != nil {
		return err
	}
	p.held[a] = held{until: time.Now().Add(lease.DefaultTiming.Quarantine)}
	return nil
}

// free reports whether a client may have an address.
func (p *pool) free(a netip.Addr, c lease.Client, now time.Time) bool {
	h, ok := p.held[a]
	return a != p.ours && p.subnet.PoolFrom.Compare(a) <= 0 && a.Compare(p.subnet.PoolTo) <= 0 &&
		(!ok || h.client == string(c.ID) || now.After(h.until))
}
