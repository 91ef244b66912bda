package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// A Subnet is a network and the addresses of it that are given to machines
// without one of their own.
type Subnet struct {
	Prefix           netip.Prefix
	PoolFrom, PoolTo netip.Addr    // both are given; the zero Addr in both: hosts only
	Router           netip.Addr    // option 3, the zero Addr: none
	DNS              []netip.Addr  // option 6
	Lease            time.Duration // 0: an hour
}

// A Host has an address of its own, in or out of the pool, that nobody else gets.
type Host struct {
	MAC  boot.MAC
	Addr netip.Addr
	Name string // option 12, "": none
}

// maxPool bounds a subnet's pool and with it what is held in memory and on
// disk of strangers: a /16.
const maxPool = 1 << 16

// pooled reports whether an address may be given to anyone.
func (n *Subnet) pooled(a netip.Addr) bool {
	return n.PoolFrom.IsValid() && a.IsValid() && n.PoolFrom.Compare(a) <= 0 && a.Compare(n.PoolTo) <= 0
}

// size counts the addresses of the pool.
func (n *Subnet) size() int {
	if !n.PoolFrom.IsValid() {
		return 0
	}
	return int(number(n.PoolTo)-number(n.PoolFrom)) + 1
}

// at returns the i-th address of the pool.
func (n *Subnet) at(i int) netip.Addr {
	if !n.PoolFrom.IsValid() {
		return netip.Addr{}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(n.PoolFrom)+uint32(i))
	return netip.AddrFrom4(b)
}

// Broadcast is the subnet's broadcast address (option 28).
func (n Subnet) Broadcast() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(n.Prefix.Masked().Addr())|uint32(1<<(32-n.Prefix.Bits())-1))
	return netip.AddrFrom4(b)
}

// usable reports whether a machine can have the address: RFC 1122 section
// 3.2.1.3 keeps the first and the last, except on the links of RFC 3021.
func (n Subnet) usable(a netip.Addr) bool {
	return n.Prefix.Bits() >= 31 || a != n.Prefix.Masked().Addr() && a != n.Broadcast()
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// check holds what the arithmetic above relies on, and what a person gets wrong.
func check(subnets []Subnet, hosts []Host) error {
	for i, n := range subnets {
		if err := n.check(); err != nil {
			return fmt.Errorf("subnet %s: %w", n.Prefix, err)
		}
		for _, o := range subnets[:i] {
			if o.Prefix.Overlaps(n.Prefix) {
				return fmt.Errorf("subnet %s: overlaps %s", n.Prefix, o.Prefix)
			}
		}
	}
	for i, h := range hosts {
		var in *Subnet
		for j := range subnets {
			if subnets[j].Prefix.Contains(h.Addr) {
				in = &subnets[j]
			}
		}
		switch {
		case in == nil:
			return fmt.Errorf("host %s: %s is in none of the subnets", h.MAC, h.Addr)
		case !in.usable(h.Addr), h.Addr == in.Router:
			return fmt.Errorf("host %s: %s is not a host's address", h.MAC, h.Addr)
		}
		for _, o := range hosts[:i] {
			if o.Addr == h.Addr {
				return fmt.Errorf("host %s: %s is reserved for %s", h.MAC, h.Addr, o.MAC)
			}
			if o.MAC == h.MAC && in.Prefix.Contains(o.Addr) {
				return fmt.Errorf("host %s: has %s in that subnet already", h.MAC, o.Addr)
			}
		}
	}
	return nil
}

func (n Subnet) check() error {
	if !n.Prefix.IsValid() || !n.Prefix.Addr().Is4() || n.Prefix.Bits() == 0 {
		return errors.New("not an IPv4 network")
	}
	if n.Lease < time.Minute || n.Lease > 1<<31*time.Second {
		return fmt.Errorf("lease of %v: want a minute or more", n.Lease)
	}
	if n.Router.IsValid() && !n.Prefix.Contains(n.Router) {
		return fmt.Errorf("router %s is not inside it", n.Router)
	}
	for _, d := range n.DNS {
		if !d.Is4() {
			return fmt.Errorf("DNS server %s is not an IPv4 address", d)
		}
	}
	if !n.PoolFrom.IsValid() && !n.PoolTo.IsValid() {
		return nil
	}
	if !n.Prefix.Contains(n.PoolFrom) || !n.Prefix.Contains(n.PoolTo) || n.PoolTo.Less(n.PoolFrom) {
		return fmt.Errorf("pool %s-%s is not inside it", n.PoolFrom, n.PoolTo)
	}
	if last := number(n.PoolTo) - number(n.PoolFrom); last >= maxPool { // before size, which is an int
		return fmt.Errorf("pool of %d addresses: want at most %d", uint64(last)+1, maxPool)
	}
	return nil
}
