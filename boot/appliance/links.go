package appliance

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// A link is an interface that is served on.
type link struct {
	name     string
	prefixes []netip.Prefix // its addresses with their networks, IPv4 first
}

// addr is the link's first address.
func (l link) addr() netip.Addr { return l.prefixes[0].Addr() }

// links finds the interfaces to serve on: those the config names, else the one
// that is up. What it returns the user can mend.
func links(cfg *config.Config) ([]link, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	byName := map[string]net.Interface{}
	var up []string
	for _, i := range ifs {
		byName[i.Name] = i
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagBroadcast != 0 {
			if l, err := newLink(i); err == nil && len(l.prefixes) > 0 && l.addr().Is4() {
				up = append(up, i.Name)
			}
		}
	}
	names := cfg.Interface
	if len(names) == 0 {
		switch len(up) {
		case 0:
			return nil, fmt.Errorf("interface: none is up with an IPv4 address; set one on the link to serve, or name it with --interface")
		case 1:
			names = up
		default:
			return nil, fmt.Errorf("interface: %s are up; choose with --interface", strings.Join(up, ", "))
		}
	}
	var out []link
	for _, name := range names {
		i, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("interface: %q is not there; up are: %s", name, strings.Join(up, ", "))
		}
		l, err := newLink(i)
		if err != nil {
			return nil, err
		}
		if len(l.prefixes) == 0 || !l.addr().Is4() {
			return nil, fmt.Errorf("interface: %s has no IPv4 address", name)
		}
		out = append(out, l)
	}
	return out, nil
}

func newLink(i net.Interface) (link, error) {
	addrs, err := i.Addrs()
	if err != nil {
		return link{}, fmt.Errorf("addresses of %s: %w", i.Name, err)
	}
	l := link{name: i.Name}
	var v6 []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		ones, _ := n.Mask.Size()
		p := netip.PrefixFrom(addr.Unmap(), ones)
		if p.Addr().Is4() {
			l.prefixes = append(l.prefixes, p)
		} else {
			v6 = append(v6, p)
		}
	}
	l.prefixes = append(l.prefixes, v6...)
	return l, nil
}

// subnets fits the config's subnets to the links: --pool names no network, it
// takes that of the link it lies in.
func subnets(cfg *config.Config, on []link) ([]lease.Subnet, error) {
	for _, s := range cfg.DHCP.Six {
		if !slices.ContainsFunc(on, func(l link) bool {
			return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) })
		}) {
			return nil, fmt.Errorf("dhcp.subnets: %s is the network of no interface that is served; set an address of it on one", s.Prefix)
		}
	}
	var out []lease.Subnet
	for _, s := range cfg.DHCP.Subnets {
		if !s.Prefix.IsValid() {
			for _, l := range on {
				for _, p := range l.prefixes {
					if p.Contains(s.PoolFrom) && p.Contains(s.PoolTo) {
						s.Prefix = p.Masked()
					}
				}
			}
			if !s.Prefix.IsValid() {
				return nil, fmt.Errorf("pool: %s-%s is in the network of no interface that is served", s.PoolFrom, s.PoolTo)
			}
		}
		out = append(out, s)
	}
	for _, l := range on {
		for _, p := range l.prefixes {
			if err := checkOwnAddress(p.Addr(), l.name, out, cfg.DHCP.Hosts); err != nil {
				return nil, err
			}
		}
	}
	if len(out) == 0 && cfg.DHCP.Mode == config.Full {
		p := on[0].prefixes[0].Masked()
		return nil, fmt.Errorf("pool: --dhcp full needs addresses to hand out; on %s that could be --pool %s", on[0].name, examplePool(p))
	}
	return out, nil
}

// checkOwnAddress reports an address of ours that a machine could be given.
func checkOwnAddress(self netip.Addr, on string, subnets []lease.Subnet, hosts []lease.Host) error {
	for _, s := range subnets {
		if s.PoolFrom.IsValid() && self.Compare(s.PoolFrom) >= 0 && self.Compare(s.PoolTo) <= 0 {
			return fmt.Errorf("pool: %s-%s holds %s, the appliance's own address on %s", s.PoolFrom, s.PoolTo, self, on)
		}
	}
	for _, h := range hosts {
		if h.Addr == self {
			return fmt.Errorf("hosts: %s of %s is the appliance's own address on %s", self, h.MAC, on)
		}
	}
	return nil
}

// examplePool is the last quarter of a network, without its broadcast address.
func examplePool(p netip.Prefix) string {
	b := p.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	size := uint32(1) << (32 - p.Bits())
	at := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	return at(n+size/4*3).String() + "-" + at(n+size-2).String()
}
