package lease

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// A Subnet is a network of either family, and the addresses of it that are given
// to machines without one of their own.
type Subnet struct {
	Prefix           netip.Prefix
	PoolFrom, PoolTo netip.Addr    // both are given; the zero Addr in both: hosts only
	Router           netip.Addr    // option 3, the zero Addr: none; not of IPv6
	DNS              []netip.Addr  // option 6, or 23 of DHCPv6
	Lease            time.Duration // 0: an hour
}

// A Host has an address of its own, in or out of the pool, that nobody else gets.
type Host struct {
	MAC  boot.MAC
	Addr netip.Addr
	Name string // option 12, "": none
}

// maxPool bounds a subnet's pool. It bounds what is held of strangers in memory
// and on disk. It is a /16, or an IPv6 /112.
const maxPool = 1 << 16

// pooled reports whether an address may be given to anyone.
func (n *Subnet) pooled(a netip.Addr) bool {
	return n.PoolFrom.IsValid() && a.IsValid() && n.PoolFrom.Compare(a) <= 0 && a.Compare(n.PoolTo) <= 0
}

// size counts the addresses of the pool.
func (n *Subnet) size() uint64 {
	if !n.PoolFrom.IsValid() {
		return 0
	}
	return low(n.PoolTo) - low(n.PoolFrom) + 1
}

// from lists the addresses of the pool, beginning somewhere in it.
func (n *Subnet) from(begin uint64) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		size := n.size()
		for i := range size {
			b := n.PoolFrom.As16()
			binary.BigEndian.PutUint64(b[8:], low(n.PoolFrom)+(begin%size+i)%size)
			addr := netip.AddrFrom16(b)
			if n.PoolFrom.Is4() {
				addr = addr.Unmap()
			}
			if !yield(addr) {
				return
			}
		}
	}
}

// low is the last 64 bits of an address, in which a pool's addresses differ.
func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// Broadcast is the subnet's broadcast address (option 28). IPv6 has none: the
// zero Addr.
func (n Subnet) Broadcast() netip.Addr {
	if !n.Prefix.Addr().Is4() {
		return netip.Addr{}
	}
	b := n.Prefix.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(1<<(32-n.Prefix.Bits())-1))
	return netip.AddrFrom4(b)
}

// usable reports whether a machine can have the address. RFC 1122 section
// 3.2.1.3 keeps the first and the last, except on the links of RFC 3021. Of
// IPv6 the first is the routers' (RFC 4291 section 2.6.1).
func (n Subnet) usable(a netip.Addr) bool {
	return n.Prefix.Bits() >= n.Prefix.Addr().BitLen()-1 || a != n.Prefix.Masked().Addr() && a != n.Broadcast()
}

// subnets are those of one family.
type subnets []Subnet

// withDefaults copies a list and fills in what was not set.
func withDefaults(nets []Subnet) subnets {
	list := slices.Clone(nets)
	for i := range list {
		if list[i].Lease == 0 {
			list[i].Lease = DefaultTiming.Lease
		}
	}
	return list
}

// of returns the subnet that an address lies in, or ErrNoSubnet.
func (list subnets) of(at netip.Addr) (*Subnet, error) {
	for i := range list {
		if list[i].Prefix.Contains(at) {
			return &list[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoSubnet, at)
}

// check holds what the code relies on, and what a person gets wrong.
func check(nets []Subnet, hosts []Host) error {
	for i, n := range nets {
		if !n.Prefix.IsValid() || !n.Prefix.Addr().Is4() || n.Prefix.Bits() == 0 {
			return fmt.Errorf("subnet %s: not an IPv4 network", n.Prefix)
		}
		if n.Lease < time.Minute || n.Lease > 1<<31*time.Second {
			return fmt.Errorf("subnet %s: lease of %v: want a minute or more", n.Prefix, n.Lease)
		}
		if err := n.check(); err != nil {
			return fmt.Errorf("subnet %s: %w", n.Prefix, err)
		}
		for _, o := range nets[:i] {
			if o.Prefix.Overlaps(n.Prefix) {
				return fmt.Errorf("subnet %s: overlaps %s", n.Prefix, o.Prefix)
			}
		}
	}
	for i, h := range hosts {
		n, err := subnets(nets).of(h.Addr)
		switch {
		case err != nil:
			return fmt.Errorf("host %s: %s is in none of the subnets", h.MAC, h.Addr)
		case !n.usable(h.Addr), h.Addr == n.Router:
			return fmt.Errorf("host %s: %s is not a host's address", h.MAC, h.Addr)
		}
		for _, o := range hosts[:i] {
			if o.Addr == h.Addr {
				return fmt.Errorf("host %s: %s is reserved for %s", h.MAC, h.Addr, o.MAC)
			}
			if o.MAC == h.MAC && n.Prefix.Contains(o.Addr) {
				return fmt.Errorf("host %s: has %s in that subnet already", h.MAC, o.Addr)
			}
		}
	}
	return nil
}

// check6 holds what the code relies on. The config holds the rest, in the words
// of its keys.
func check6(nets []Subnet) error {
	for _, n := range nets {
		if !n.Prefix.IsValid() || !n.Prefix.Addr().Is6() || n.Prefix.Addr().Is4In6() {
			return fmt.Errorf("subnet %s: not an IPv6 network", n.Prefix)
		}
		if err := n.check(); err != nil {
			return fmt.Errorf("subnet %s: %w", n.Prefix, err)
		}
	}
	return nil
}

// check holds one subnet of either family.
func (n Subnet) check() error {
	if n.Router.IsValid() && !n.Prefix.Contains(n.Router) {
		return fmt.Errorf("router %s is not inside it", n.Router)
	}
	for _, d := range n.DNS {
		if d.Is4() != n.Prefix.Addr().Is4() {
			return fmt.Errorf("DNS server %s is not an %s address", d, family(n.Prefix.Addr()))
		}
	}
	if !n.PoolFrom.IsValid() && !n.PoolTo.IsValid() {
		return nil
	}
	if !n.Prefix.Contains(n.PoolFrom) || !n.Prefix.Contains(n.PoolTo) || n.PoolTo.Less(n.PoolFrom) {
		return fmt.Errorf("pool %s-%s is not inside it", n.PoolFrom, n.PoolTo)
	}
	if from, to := n.PoolFrom.As16(), n.PoolTo.As16(); [8]byte(from[:8]) != [8]byte(to[:8]) {
		return fmt.Errorf("pool %s-%s: want at most %d addresses", n.PoolFrom, n.PoolTo, maxPool)
	}
	if size := n.size(); size-1 >= maxPool { // of all 64 bits it is 0
		return fmt.Errorf("pool of %d addresses: want at most %d", size, maxPool)
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
