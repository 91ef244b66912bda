package appliance

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// No machine gets an address of the appliance, nor the second address on a
// link.
func TestOwnAddressIsNotGiven(t *testing.T) {
	on := []link{{"eth0", []netip.Prefix{
		netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.0.150/24"), netip.MustParsePrefix("fd00::1/64"),
	}}}
	for _, c := range []struct{ from, to, host, want string }{
		{"10.0.0.100", "10.0.0.140", "10.0.0.9", ""},
		{"10.0.0.1", "10.0.0.20", "10.0.0.9", "holds 10.0.0.1"},
		{"10.0.0.100", "10.0.0.199", "10.0.0.9", "holds 10.0.0.150"},
		{"10.0.0.100", "10.0.0.140", "10.0.0.1", "hosts: 10.0.0.1"},
		{"10.0.0.100", "10.0.0.140", "10.0.0.150", "hosts: 10.0.0.150"},
	} {
		t.Run(c.from+"-"+c.to+", host "+c.host, func(t *testing.T) {
			cfg := &config.Config{DHCP: dhcp.Config{Mode: dhcp.Full}, Leases: lease.Config{
				Subnets: []lease.Subnet{{PoolFrom: netip.MustParseAddr(c.from), PoolTo: netip.MustParseAddr(c.to)}},
				Hosts:   []lease.Host{{MAC: boot.MAC{2, 5: 1}, Addr: netip.MustParseAddr(c.host)}},
			}}
			got, err := fitSubnets(cfg, on)
			if c.want == "" && (err != nil || len(got) != 1 || got[0].Prefix.String() != "10.0.0.0/24") {
				t.Errorf("%v: %v, %v", c, got, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v: %v", c, err)
			}
		})
	}
}
