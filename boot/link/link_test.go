package link

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/bootlace/bootlace/boot/nettest"
)

// addrs are the IPv4 addresses of an interface.
func addrs(t *testing.T, name string) (list []netip.Prefix) {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ifi.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if p := netip.MustParsePrefix(a.String()); p.Addr().Is4() {
			list = append(list, p)
		}
	}
	return list
}

func TestLinkFindsCarrierAndTakesAddresses(t *testing.T) {
	a, b := nettest.Pair(t, "", "10.2.0.1/24")
	setB := func(up bool) {
		b.Do(t, func() {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			f := netlink.LinkSetDown
			if up {
				f = netlink.LinkSetUp
			}
			if err := f(l); err != nil {
				t.Fatal(err)
			}
		})
	}
	log := slog.New(slog.DiscardHandler)
	setB(false)
	a.Do(t, func() {
		if links, err := Links(""); err != nil || len(links) != 0 {
			t.Errorf("Links: %v, %v; want no hardware in a namespace", links, err)
		}
		links, err := Links("eth0")
		if err != nil || len(links) != 1 || links[0].Carrier || !links[0].Up {
			t.Fatalf("Links(eth0) = %+v, %v; want one that is up without carrier", links, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*carrierPoll)
		defer cancel()
		if _, err := Carrier(ctx, log, "eth0"); err == nil {
			t.Error("Carrier found one where the far end is down")
		}
	})
	setB(true)
	a.Do(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		links, err := Carrier(ctx, log, "eth0")
		if err != nil || len(links) != 1 {
			t.Fatalf("Carrier = %v, %v", links, err)
		}
		l := links[0]
		// The second is of the same subnet, as after a lease that changed.
		for _, cidr := range []string{"10.2.0.7/24", "10.2.0.8/24", "10.2.0.8/24", "10.2.0.9/16"} {
			want := netip.MustParsePrefix(cidr)
			if err := l.SetAddr(want); err != nil {
				t.Fatal(err)
			}
			if got := addrs(t, l.Name); !slices.Equal(got, []netip.Prefix{want}) {
				t.Errorf("after SetAddr(%s): %v", cidr, got)
			}
		}
		for range 2 {
			if err := l.SetRoute(netip.MustParseAddr("10.2.0.1")); err != nil {
				t.Fatal(err)
			}
		}
		if got := gateways(t, l.Index); !slices.Equal(got, []string{"10.2.0.1"}) {
			t.Errorf("after SetRoute(10.2.0.1): default routes via %v", got)
		}
		if err := l.SetRoute(netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Error("SetRoute took a gateway outside every subnet")
		}
	})
}

// gateways are those of a link's default routes of IPv4.
func gateways(t *testing.T, index int) (list []string) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			list = append(list, r.Gw.String())
		}
	}
	return list
}
