package dhcp

import (
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// far is a network behind a relay, or on another interface.
var far = lease.Subnet{
	Prefix:   netip.MustParsePrefix("10.78.0.0/24"),
	PoolFrom: netip.MustParseAddr("10.78.0.100"), PoolTo: netip.MustParseAddr("10.78.0.109"),
	Router: netip.MustParseAddr("10.78.0.254"), Lease: time.Hour,
}

// behind makes a server, a relay with eth0 to it and eth1 to a bench, and that.
func behind(t *testing.T) (server, relay, bench *nettest.NS) {
	t.Helper()
	server, relay = nettest.Pair(t, ours+"/24", "10.77.0.254/24")
	bench, end := nettest.Pair(t, "", "")
	end.IP(t, "link", "set", "eth0", "name", "eth1")
	end.IP(t, "link", "set", "eth1", "netns", relay.Name)
	relay.IP(t, "addr", "add", "10.78.0.254/24", "dev", "eth1")
	relay.IP(t, "link", "set", "eth1", "up")
	server.IP(t, "route", "add", "10.78.0.0/24", "via", "10.77.0.254")
	return server, relay, bench
}

// relays are real ones, and what they add.
var relays = []struct {
	name    string
	circuit string
	start   func(t *testing.T, ns *nettest.NS)
}{
	{"dnsmasq", "", func(t *testing.T, ns *nettest.NS) {
		ns.Start(t, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--log-facility=-",
			"--dhcp-relay=10.78.0.254,"+ours, "--pid-file="+filepath.Join(t.TempDir(), "pid"))
	}},
	{"dhcrelay", "eth1", func(t *testing.T, ns *nettest.NS) {
		ns.Start(t, "dhcrelay", "-4", "-d", "-a", "-iu", "eth0", "-id", "eth1", ours)
	}},
}

func TestBehindRealRelays(t *testing.T) {
	for _, r := range relays {
		t.Run(r.name, func(t *testing.T) {
			server, relay, bench := behind(t)
			leases, _ := leasesOf(t, filepath.Join(t.TempDir(), "db"), []lease.Subnet{lab, far}, nil)
			var circuit atomic.Pointer[string]
			s := serveOn(t, server, "eth0", Full, leases, func(r boot.Request) (boot.BootInfo, error) {
				circuit.Store(&r.Circuit)
				return firstFile(r)
			})
			r.start(t, relay)

			// udhcpc asks again and again: the relay may still be starting.
			got := udhcpc(t, bench)
			if !strings.HasPrefix(got, "10.78.0.10") || !strings.Contains(got, "/24 router 10.78.0.254") {
				t.Errorf("udhcpc got %q", got)
			}
			if !strings.Contains(s.noted(), "on eth0 through relay 10.78.0.254: leased 10.78.0.10") {
				t.Errorf("noted %s", s.noted())
			}
			if got := circuit.Load(); got == nil || *got != r.circuit {
				t.Errorf("circuit %v, want %q", got, r.circuit)
			}
			if got = udhcpc(t, bench, "-B"); !strings.HasPrefix(got, "10.78.0.10") {
				t.Errorf("with the broadcast flag: %q", got)
			}

			// And as a ProxyDHCP, whose offer has no address to send it to.
			s.stop()
			s = serve(t, server, Proxy, nil)
			w := newTap(t, bench, portClient)
			w.broadcast(t, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"))...))
			s.waitFor(t, "through relay 10.78.0.254: told boot.ipxe")
			_, p := w.next(t) // from the relay
			if p.BootFileNameOption() != "boot.ipxe" || addr4(p.ServerIPAddr) != us.addr || addr4(p.YourIPAddr).IsValid() {
				t.Errorf("the offer that came: %s", p.Summary())
			}
		})
	}
}

// A relay may say that the machine is on another link than giaddr (RFC 3527).
func TestLinkSelection(t *testing.T) {
	a, _ := nettest.Pair(t, ours+"/24", "")
	leases, _ := leasesOf(t, filepath.Join(t.TempDir(), "db"), []lease.Subnet{lab, far}, nil)
	s := serve(t, a, Full, leases)
	giaddr := dhcpv4.WithRelay([]byte{10, 77, 0, 254})
	for _, tt := range []struct {
		name, option82 string
		want           netip.Prefix
	}{
		{"of giaddr", "", lab.Prefix},
		{"of another", "\x05\x04\x0a\x4e\x00\x00", far.Prefix},
	} {
		t.Run(tt.name, func(t *testing.T) {
			with := []dhcpv4.Modifier{giaddr}
			if tt.option82 != "" {
				with = append(with, option(82, tt.option82))
			}
			q, err := parse(message(dhcpv4.MessageTypeDiscover, with...), "eth0", netip.MustParseAddrPort("10.77.0.254:67"), portServer)
			if err != nil {
				t.Fatal(err)
			}
			g, err := s.grant(t.Context(), q, offer, boot.BootInfo{})
			if err != nil || !tt.want.Contains(g.lease.Addr) {
				t.Errorf("%v, %v; want one of %v", g.lease, err, tt.want)
			}
			if a := respond(q, Full, us, boot.BootInfo{}, g); a.to.String() != "10.77.0.254:67" {
				t.Errorf("answered to %v", a.to)
			}
		})
	}
}

// Two interfaces have a network each. A machine is answered on its own link,
// from the address there, whether it takes a unicast or not.
func TestSeveralInterfaces(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	a.IP(t, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", b.Name)
	a.IP(t, "addr", "add", "10.78.0.1/24", "dev", "eth1")
	for _, ns := range []*nettest.NS{a, b} {
		ns.IP(t, "link", "set", "eth1", "up")
	}
	leases, _ := leasesOf(t, filepath.Join(t.TempDir(), "db"), []lease.Subnet{lab, far}, nil)
	first, second := serve(t, a, Full, leases), serveOn(t, a, "eth1", Full, leases, firstFile)
	for _, flag := range [][]string{nil, {"-B"}} {
		if got := udhcpc(t, b, flag...); !strings.HasPrefix(got, "10.77.0.10") || !strings.Contains(got, "from "+ours) {
			t.Errorf("on eth0, %q: %q", flag, got)
		}
		if got := udhcpc(t, b, append(flag, "-i", "eth1")...); !strings.HasPrefix(got, "10.78.0.10") || !strings.Contains(got, "from 10.78.0.1") {
			t.Errorf("on eth1, %q: %q", flag, got)
		}
	}
	if strings.Contains(first.noted(), "eth1") || !strings.Contains(second.noted(), "on eth1: leased 10.78.0.10") {
		t.Errorf("noted on eth0:\n%s\non eth1:\n%s", first.noted(), second.noted())
	}
}

// What a Pi 3 is offered it uses without a REQUEST. The lease holds, and its
// address is known. The answer does not come at once.
func TestNoRequest(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	s := serve(t, a, Full, leases)
	w := newTap(t, b, portClient)
	raw := nettest.ReadPacket(t, "testdata/rpi3-full-discover-67.hex").Raw
	start := time.Now()
	w.broadcast(t, raw)
	s.waitFor(t, "offered 10.77.0.10")
	if d := time.Since(start); d < time.Second {
		t.Errorf("answered after %v: too fast for it", d)
	}
	mac := [6]byte{0xb8, 0x27, 0xeb, 0x1c, 0xff, 0x5b}
	list := leases.List()
	if len(list) != 1 || s.sawAt(mac) != list[0].Addr {
		t.Errorf("leases %v, seen at %v", list, s.sawAt(mac))
	}
	if got := w.wait(t); addr4(got.YourIPAddr) != list[0].Addr {
		t.Errorf("offered %v", got)
	}
	// The others are not held up meanwhile.
	w.broadcast(t, raw)
	if got := udhcpc(t, b); got == "" {
		t.Error("while it waits, nobody else gets an address")
	}
}
