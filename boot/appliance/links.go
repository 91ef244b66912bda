package appliance

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// A link is an interface that the appliance serves on.
type link struct {
	name     string
	prefixes []netip.Prefix // its addresses and prefix lengths, IPv4 first
}

// addr is the link's first address.
func (l link) addr() netip.Addr { return l.prefixes[0].Addr() }

// findLinks finds the interfaces to serve on. They are those that the config
// names, else the one that is up. The user can mend every error it returns.
func findLinks(cfg *config.Config) ([]link, error) {
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

// fitSubnets fits the config's subnets to the links. --pool names no network; it
// takes that of the link whose network holds it.
func fitSubnets(cfg *config.Config, served []link) ([]lease.Subnet, error) {
	for _, s := range cfg.Leases.Subnets6 {
		if !slices.ContainsFunc(served, func(l link) bool {
			return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) })
		}) {
			return nil, fmt.Errorf("dhcp.subnets: %s is the network of no interface that is served; set an address of it on one", s.Prefix)
		}
	}
	var out []lease.Subnet
	for _, s := range cfg.Leases.Subnets {
		if !s.Prefix.IsValid() {
			for _, l := range served {
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
	for _, l := range served {
		for _, p := range l.prefixes {
			if err := checkOwnAddress(p.Addr(), l.name, out, cfg.Leases.Hosts); err != nil {
				return nil, err
			}
		}
	}
	if len(out) == 0 && cfg.DHCP.Mode == dhcp.Full {
		p := served[0].prefixes[0].Masked()
		return nil, fmt.Errorf("pool: --dhcp full needs addresses to hand out; on %s that could be --pool %s", served[0].name, examplePool(p))
	}
	return out, nil
}

// checkOwnAddress refuses a pool or host with one of our own addresses.
func checkOwnAddress(own netip.Addr, on string, subnets []lease.Subnet, hosts []lease.Host) error {
	for _, s := range subnets {
		if s.PoolFrom.IsValid() && own.Compare(s.PoolFrom) >= 0 && own.Compare(s.PoolTo) <= 0 {
			return fmt.Errorf("pool: %s-%s holds %s, the appliance's own address on %s", s.PoolFrom, s.PoolTo, own, on)
		}
	}
	for _, h := range hosts {
		if h.Addr == own {
			return fmt.Errorf("hosts: %s of %s is the appliance's own address on %s", own, h.MAC, on)
		}
	}
	return nil
}

// examplePool returns the last quarter of a network, without its broadcast
// address.
func examplePool(p netip.Prefix) string {
	b := p.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	size := uint32(1) << (32 - p.Bits())
	at := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	return at(n+size/4*3).String() + "-" + at(n+size-2).String()
}
