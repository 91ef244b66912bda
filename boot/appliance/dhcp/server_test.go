package dhcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

func TestFullModeWithRealClients(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	path := filepath.Join(t.TempDir(), "db")
	leases, st := leasesAt(t, path, lab)
	s := serve(t, a, Full, leases)

	first := udhcpc(t, b)
	for _, want := range []string{"10.77.0.10", "/24 router " + ours + " dns " + ours, "lease 3600 from " + ours} {
		if !strings.Contains(first, want) {
			t.Errorf("udhcpc got %q, want %q in it", first, want)
		}
	}
	addr, _, _ := strings.Cut(first, "/")
	if again := udhcpc(t, b, "-B"); again != first { // and with the BROADCAST flag
		t.Errorf("udhcpc got %q, then %q", first, again)
	}
	if !strings.Contains(s.noted(), "DISCOVER from a DHCP client on eth0: offered "+addr) || !strings.Contains(s.noted(), "leased "+addr) {
		t.Errorf("noted: %s", s.noted())
	}

	t.Run("dhclient", func(t *testing.T) {
		dir := t.TempDir()
		cmd := b.Command(t, nettest.Need(t, "dhclient"), "-4", "-1", "-d", "-v", "-sf", "/bin/true",
			"-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-cf", "/dev/null", "eth0")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out := watch(t, ctx, cmd, "bound to")
		if !strings.Contains(out, "bound to "+addr) {
			t.Errorf("dhclient sends another client identifier, and is still the machine with %s: %s", addr, out)
		}
	})

	s.stop()
	st.Close()
	leases, _ = leasesAt(t, path, lab)
	s = serve(t, a, Full, leases)
	if got := leases.List(); len(got) != 1 || got[0].Addr.String() != addr {
		t.Errorf("leases after a restart: %v", got)
	}
	// INIT-REBOOT: it asks for what it had.
	if again := udhcpc(t, b, "-r", addr); again != first {
		t.Errorf("after a restart %q, before %q", again, first)
	}
}

// client is one on eth0 of a namespace, with a MAC of its own.
func client(t *testing.T, ns *nettest.NS, mac boot.MAC) *nclient4.Client {
	t.Helper()
	var c *nclient4.Client
	var err error
	ns.Do(t, func() {
		c, err = nclient4.New("eth0", nclient4.WithHWAddr(mac[:]), nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(20))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A host with an address of its own gets that. Our agent finds the appliance in
// the answers.
func TestHostOfItsOwn(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	reserved := lease.Host{MAC: boot.MAC{2, 0, 0, 0, 0, 9}, Addr: netip.MustParseAddr("10.77.0.9"), Name: "dut9"}
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab, reserved)
	s := serve(t, a, Full, leases)
	got, err := client(t, b, reserved.MAC).Request(t.Context(), dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptUserClass(board.AgentUserClass)))
	if err != nil {
		t.Fatal(err)
	}
	if got.ACK.YourIPAddr.String() != "10.77.0.9" || got.ACK.HostName() != "dut9" {
		t.Errorf("it gets %s", got.ACK.Summary())
	}
	for _, p := range []*dhcpv4.DHCPv4{got.Offer, got.ACK} {
		if p.ClassIdentifier() != board.ApplianceClass || p.ServerIPAddr.String() != ours {
			t.Errorf("our agent cannot find the appliance in %s", p.Summary())
		}
	}
	if s.sawAt(reserved.MAC) != reserved.Addr {
		t.Errorf("not told of its address: %v", s.sawAt(reserved.MAC))
	}

	wrong := boot.MAC{2, 0, 0, 0, 0, 10}
	other := client(t, b, wrong)
	request := func(t *testing.T, with ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		t.Helper()
		p, err := dhcpv4.New(append(with, dhcpv4.WithHwAddr(wrong[:]), dhcpv4.WithBroadcast(true), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 77, 0, 9))))...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("is refused to another", func(t *testing.T) {
		p, err := other.SendAndRead(t.Context(), other.RemoteAddr(), request(t), nil)
		if err != nil || p.MessageType() != dhcpv4.MessageTypeNak {
			t.Errorf("another's address: %v, %v", p, err)
		}
	})
	t.Run("is no business of ours where another server is chosen", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		p, err := other.SendAndRead(ctx, other.RemoteAddr(), request(t, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 77, 0, 2)))), nil)
		if err == nil {
			t.Errorf("answered: %s", p.Summary())
		}
	})
	t.Run("is released by it alone", func(t *testing.T) {
		w := newTap(t, b, portClient)
		w.broadcast(t, about(dhcpv4.MessageTypeRelease, wrong, reserved.Addr))
		w.broadcast(t, about(dhcpv4.MessageTypeRelease, reserved.MAC, reserved.Addr))
		s.waitFor(t, "released 10.77.0.9")
		if n := len(leases.List()); n != 0 {
			t.Errorf("%d leases after the release", n)
		}
	})
}

// about is a message of a client about its address. RELEASE and DECLINE have no
// answer.
func about(mt dhcpv4.MessageType, mac boot.MAC, addr netip.Addr) []byte {
	return message(mt, dhcpv4.WithHwAddr(mac[:]), option(50, string(addr.AsSlice())), option(54, string(us.addr.AsSlice())))
}

// An address that was declined is left alone. The pool ends, and says so.
func TestPoolEnds(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	s := serve(t, a, Full, leases)
	mac := boot.MAC{2, 0, 0, 0, 0, 10}
	c := client(t, b, mac)
	offer, err := c.DiscoverOffer(t.Context(), dhcpv4.WithBroadcast(true))
	if err != nil {
		t.Fatal(err)
	}
	declined := addr4(offer.YourIPAddr)
	newTap(t, b, portClient).broadcast(t, about(dhcpv4.MessageTypeDecline, mac, declined))
	s.waitFor(t, "found in use, and left alone for now: "+declined.String())
	if offer, err = c.DiscoverOffer(t.Context(), dhcpv4.WithBroadcast(true)); err != nil || addr4(offer.YourIPAddr) == declined {
		t.Errorf("offered what it declined: %v, %v", offer, err)
	}
	for i := range 9 {
		if _, err := client(t, b, boot.MAC{2, 0, 0, 1, 0, byte(i)}).Request(t.Context(), dhcpv4.WithBroadcast(true)); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if p, err := client(t, b, mac).DiscoverOffer(ctx); err == nil {
		t.Errorf("the tenth, with nine left: %s", p.Summary())
	}
	s.waitFor(t, "pool exhausted: every address of 10.77.0.100-10.77.0.109 is taken")
}

// Strangers, and packets that are none, neither kill the server nor fill it.
func TestFloodAndGarbage(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	path := filepath.Join(t.TempDir(), "db")
	leases, st := leasesAt(t, path, lab)
	s := serve(t, a, Full, leases)
	w := newTap(t, b, portClient)
	for i := range 3000 {
		p, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 1, 0, 0, byte(i >> 8), byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		raw := p.ToBytes()
		switch i % 5 {
		case 3:
			raw = raw[:i%len(raw)]
		case 4:
			raw[240+i%20] ^= byte(i)
		}
		w.broadcast(t, raw)
	}
	if got := udhcpc(t, b); !strings.HasPrefix(got, "10.77.0.10") {
		t.Errorf("after the flood: %q", got)
	}
	nettest.Eventually(t, "malformed packets to be counted", func() bool { return s.malformed.Load() > 0 })
	list, _, err := st.List(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Errorf("%d entries on disk for one machine with a lease: %v", len(list), err)
	}
}

func TestProxyBesideDNSMasq(t *testing.T) {
	hosts := nettest.LAN(t, ours+"/24", "10.77.0.2/24", "10.77.0.90/24")
	s := serve(t, hosts[0], Proxy, nil)
	hosts[1].Dnsmasq(t, "--dhcp-range=10.77.0.50,10.77.0.59,1h", "--no-ping")
	bench := hosts[2]

	// A client that does not boot gets its lease there, and no word from us.
	if got := udhcpc(t, bench); !strings.HasPrefix(got, "10.77.0.5") || !strings.Contains(got, "from 10.77.0.2") {
		t.Errorf("udhcpc got %q", got)
	}
	if s.noted() != "" {
		t.Errorf("noted %q of a client that does not boot", s.noted())
	}

	// Our agent hears both, and can tell them apart.
	w := newTap(t, bench, portClient)
	w.broadcast(t, message(dhcpv4.MessageTypeDiscover, agents...))
	offers := map[netip.Addr]*dhcpv4.DHCPv4{}
	for len(offers) < 2 {
		server, p := w.next(t)
		offers[server] = p
	}
	mine, theirs := offers[us.addr], offers[netip.MustParseAddr("10.77.0.2")]
	if mine == nil || theirs == nil {
		t.Fatalf("offered %v", offers)
	}
	if addr4(mine.YourIPAddr).IsValid() || mine.ClassIdentifier() != board.ApplianceClass || addr4(mine.ServerIPAddr) != us.addr {
		t.Errorf("our offer: %s", mine.Summary())
	}
	if !addr4(theirs.YourIPAddr).IsValid() || theirs.ClassIdentifier() == board.ApplianceClass {
		t.Errorf("dnsmasq's offer: %s", theirs.Summary())
	}
	// Its REQUEST to dnsmasq tells us where it is.
	mac := boot.MAC(mine.ClientHWAddr)
	w.broadcast(t, message(dhcpv4.MessageTypeRequest, append(agents, option(50, string(theirs.YourIPAddr.To4())), option(54, "\x0a\x4d\x00\x02"))...))
	nettest.Eventually(t, "its address to be seen", func() bool { return s.sawAt(mac) == addr4(theirs.YourIPAddr) })
	if got := w.collect(t, 300*time.Millisecond); got[us.addr] != nil {
		t.Errorf("answered %v", got[us.addr])
	}

	// EDK2 asks again on port 4011, and is answered at the port it asked from.
	raw := nettest.ReadPacket(t, "testdata/ovmf-proxy-request-4011.hex").Raw
	p := ask(t, bench, netip.MustParseAddrPort("10.77.0.90:4011"), netip.AddrPortFrom(us.addr, portBINL), raw)
	if p.BootFileNameOption() != board.UKI || p.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("on port 4011: %s", p.Summary())
	}
}

func TestRenewal(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "10.77.0.105/24")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	serve(t, a, Full, leases)
	addr := netip.MustParseAddr("10.77.0.105")
	renew := message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(addr.AsSlice()))
	p := ask(t, b, netip.AddrPortFrom(addr, portClient), netip.AddrPortFrom(us.addr, portServer), renew)
	if p.MessageType() != dhcpv4.MessageTypeAck || addr4(p.YourIPAddr) != addr || addr4(p.ClientIPAddr) != addr {
		t.Errorf("a renewal: %s", p.Summary())
	}
}

func TestBusyPort(t *testing.T) {
	a, _ := nettest.Pair(t, ours+"/24", "")
	serve(t, a, Proxy, nil)
	second := &Server{Mode: Proxy, Interface: "eth0", Log: slog.New(slog.DiscardHandler)}
	var err error
	a.Do(t, func() { err = second.Listen() })
	if err == nil || !strings.Contains(err.Error(), "port 67 on eth0 is taken") || !strings.Contains(err.Error(), "--dhcp off") {
		t.Errorf("a second server: %v", err)
	}
	// Also where the other one shares its port, as DHCP servers do.
	c, _ := nettest.Pair(t, ours+"/24", "")
	var fd int
	c.Do(t, func() {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
			t.Fatal(err)
		}
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err = unix.Bind(fd, &unix.SockaddrInet4{Port: portBINL}); err != nil {
			t.Fatal(err)
		}
		err = second.Listen()
	})
	defer unix.Close(fd)
	if err == nil || !strings.Contains(err.Error(), "port 4011 on eth0 is taken") {
		t.Errorf("beside a socket that shares: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	a, b := nettest.Pair(t, "", "fd00::1/64")
	for _, tt := range []struct {
		name string
		ns   *nettest.NS
		s    *Server
		want string
	}{
		{"no such interface", a, &Server{Mode: Proxy, Interface: "eth9"}, "interface eth9"},
		{"no address", a, &Server{Mode: Proxy, Interface: "eth0"}, "interface eth0 has no IPv4 address"},
		{"IPv6 alone", b, &Server{Mode: Proxy, Interface: "eth0"}, "interface eth0 has no IPv4 address"},
		{"no leases", a, &Server{Mode: Full, Interface: "eth0"}, "full mode without subnets"},
		{"no mode", a, &Server{Interface: "eth0"}, `mode "" is neither proxy nor full`},
		{"IPv6 to advertise", a, &Server{Mode: Proxy, Interface: "eth0", Addr: netip.MustParseAddr("fd00::1")}, "fd00::1 is not an IPv4 address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			tt.ns.Do(t, func() { err = tt.s.Listen() })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "10.77.0.2/24")
	in := func(ns *nettest.NS, timing Timing) (got []netip.Addr, err error) {
		ns.Do(t, func() { got, err = Probe(t.Context(), "eth0", timing) })
		return got, err
	}
	quick := Timing{ProbeResend: 100 * time.Millisecond, ProbeWait: 300 * time.Millisecond, ProbeMore: 50 * time.Millisecond}

	s := serve(t, a, Proxy, nil)
	if got, err := in(b, quick); err != nil || len(got) != 0 {
		t.Errorf("a ProxyDHCP gives no addresses: %v, %v", got, err)
	}
	s.stop()

	// dnsmasq as it comes pings an address for three seconds before it offers it.
	a.Dnsmasq(t, "--dhcp-range=10.77.0.50,10.77.0.60,1h")
	patient := DefaultTiming
	patient.ProbeWait *= 3 // it ends with an answer; a busy machine pings for longer
	if got, err := in(b, patient); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr(ours)}) {
		t.Errorf("beside dnsmasq: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Do(t, func() {
		if _, err := Probe(ctx, "eth0", Timing{}); err == nil {
			t.Error("a probe went on after its context had ended")
		}
	})
}
