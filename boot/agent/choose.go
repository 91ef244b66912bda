package agent

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/link"
)

// An offer is one server's answer to DISCOVER, on one link.
type offer struct {
	link link.Link
	msg  *dhcpv4.DHCPv4
	at   time.Time
}

// addr returns the address that is offered; a ProxyDHCP offer has none.
func (o offer) addr() (netip.Prefix, bool) { return address(o.msg) }

// appliance returns where the appliance is, if this offer is from one. Option 60
// says that it is. siaddr says where, or else option 54.
func (o offer) appliance() (netip.Addr, bool) {
	if !strings.HasPrefix(o.msg.ClassIdentifier(), board.ApplianceClass) {
		return netip.Addr{}, false
	}
	if a, ok := ipv4(o.msg.ServerIPAddr); ok {
		return a, true
	}
	return o.server()
}

// server is option 54, the server identifier (RFC 2132 section 9.7).
func (o offer) server() (netip.Addr, bool) { return ipv4(o.msg.ServerIdentifier()) }

// same: a later offer of one server replaces an earlier one.
func (o offer) same(p offer) bool {
	a, _ := o.server()
	b, _ := p.server()
	return o.link.Index == p.link.Index && a == b
}

// A choice is the offer to take an address from, and where the appliance is.
type choice struct {
	offer
	appliance netip.Addr
}

// choose picks from the offers so far, in the order they came. want is the
// appliance where the command line named it. Otherwise an offer must say that it
// is from one. The address must be for the same link, best from the appliance
// itself. sure reports that no later offer could be better, so there is nothing
// to wait for.
func choose(offers []offer, want netip.Addr) (c choice, ok, sure bool) {
	first := true
	for _, o := range offers {
		addr, has := o.addr()
		if !has {
			continue
		}
		app, is := o.appliance()
		if want.IsValid() {
			app, is = want, addr.Contains(want)
		}
		if is {
			return choice{o, app}, true, first
		}
		first = false
	}
	for _, o := range offers {
		addr, has := o.addr()
		switch {
		case !has:
		case want.IsValid():
			return choice{o, want}, true, false // behind a router
		case addr.IsValid():
			for _, p := range offers {
				if app, is := p.appliance(); is && p.link.Index == o.link.Index {
					return choice{o, app}, true, false
				}
			}
		}
	}
	return choice{}, false, false
}

// from picks as choose does, with want.
func from(want netip.Addr) pick {
	return func(offers []offer) (choice, bool, bool) { return choose(offers, want) }
}

// anyAppliance picks the first offer from an appliance, with or without an address.
func anyAppliance(offers []offer) (c choice, ok, sure bool) {
	for _, o := range offers {
		if app, is := o.appliance(); is {
			return choice{o, app}, true, true
		}
	}
	return choice{}, false, false
}

// anyAddress picks the first offer with an address.
func anyAddress(offers []offer) (c choice, ok, sure bool) {
	for _, o := range offers {
		if _, has := o.addr(); has {
			return choice{offer: o}, true, true
		}
	}
	return choice{}, false, false
}

// missing says what the offers lack, for a person at the console.
func missing(offers []offer) string {
	var addr, app string
	for _, o := range offers {
		from, _ := o.server()
		if a, is := o.appliance(); is {
			app = fmt.Sprintf("appliance %s answers on %s", a, o.link.Name)
		}
		if p, has := o.addr(); has {
			addr = fmt.Sprintf("%s offers %s on %s", from, p.Addr(), o.link.Name)
		}
	}
	switch {
	case addr == "" && app == "":
		return ""
	case addr == "":
		return app + ", but nobody offers an address there"
	case app == "":
		return addr + ", but no appliance answers"
	}
	return app + ", but " + addr
}

// address reads yiaddr and the subnet mask, without which it is the class's.
func address(m *dhcpv4.DHCPv4) (netip.Prefix, bool) {
	a, ok := ipv4(m.YourIPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	mask := m.SubnetMask()
	if mask == nil {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	ones, bits := mask.Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, false // a mask with holes, or an address of no class
	}
	return netip.PrefixFrom(a, ones), true
}

// ipv4 turns an address of the DHCP library into one that can be compared. It
// returns false for none and for 0.0.0.0.
func ipv4(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip.To4())
	return a, ok && !a.IsUnspecified()
}
