package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/dhcp6"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/ra"
)

// A link has DHCPv6 where it has an address in a DHCPv6 network. In full mode
// it always answers router solicitations.
func TestLinkServers(t *testing.T) {
	network := netip.MustParsePrefix("fd00:77::/64")
	for _, tt := range []struct {
		name     string
		mode     dhcp.Mode
		subnets6 []lease.Subnet
		want     []string
	}{
		{"proxy", dhcp.Proxy, nil, []string{"*dhcp.Server"}},
		{"full", dhcp.Full, nil, []string{"*dhcp.Server", "*ra.Server"}},
		{"full with IPv6", dhcp.Full, []lease.Subnet{{Prefix: network}}, []string{"*dhcp.Server", "*dhcp6.Server", "*ra.Server"}},
		{"IPv6 of another link", dhcp.Full, []lease.Subnet{{Prefix: netip.MustParsePrefix("fd00:78::/64")}}, []string{"*dhcp.Server", "*ra.Server"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &Appliance{cfg: &config.Config{DHCP: dhcp.Config{Mode: tt.mode}, Leases: lease.Config{Subnets6: tt.subnets6}}, machines: &machines{}}
			var kinds []string
			for _, s := range a.serversOf(link{"eth0", []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("fd00:77::1/64")}}) {
				kinds = append(kinds, fmt.Sprintf("%T", s))
				switch s := s.(type) {
				case *dhcp6.Server:
					if s.Addr.String() != "fd00:77::1" || s.Subnet.Prefix != network {
						t.Errorf("DHCPv6 of %s as %s", s.Subnet.Prefix, s.Addr)
					}
				case *ra.Server:
					if s.Managed.IsValid() != slices.Contains(tt.want, "*dhcp6.Server") {
						t.Errorf("it advertises %v", s.Managed)
					}
				}
			}
			if !slices.Equal(kinds, tt.want) {
				t.Errorf("%v, want %v", kinds, tt.want)
			}
		})
	}
}
