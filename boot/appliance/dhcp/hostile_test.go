package dhcp

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// giaddr is where the answer goes: it must be a machine's address.
func TestNoRelay(t *testing.T) {
	for addr, relay := range map[string]bool{
		"10.77.0.254": true, "192.0.2.1": true, "223.255.255.254": true,
		"255.255.255.255": false, "224.0.0.1": false, "127.0.0.1": false, "0.0.0.7": false, "240.0.0.1": false, "169.254.1.1": false,
	} {
		_, err := parse(message(dhcpv4.MessageTypeDiscover, dhcpv4.WithRelay(net.ParseIP(addr))))
		if (err == nil) != relay {
			t.Errorf("giaddr %s: %v", addr, err)
		}
	}
}

// Options may be as long as the packet; what is kept of them, and what is said
// again, is not.
func TestLongOptions(t *testing.T) {
	for _, code := range []uint8{61, 82, 97} {
		for _, n := range []int{255, 256, 1000, 3700} {
			value := strings.Repeat("\x01", n)
			if code == 82 { // circuit IDs, which are joined too
				value = strings.Repeat("\x01\x64"+strings.Repeat("c", 100), n/102)
			}
			p, err := parse(message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), option(code, value))...))
			if err != nil {
				t.Fatal(err)
			}
			q := hear(p, "eth0", nobody, portServer)
			if len(q.id()) > 255 || len(q.Circuit) > 2*255 {
				t.Errorf("option %d of %d bytes: an identifier of %d and a circuit of %d are kept", code, n, len(q.id()), len(q.Circuit))
			}
			if a := answerTo(q, Full); len(a.raw) > room(p) || a.raw == nil {
				t.Errorf("option %d of %d bytes: answered with %d, want at most %d", code, n, len(a.raw), room(p))
			}
		}
	}
}

func TestThrottle(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	th := newThrottle()
	for i := byte(2); th.bucket(a) == th.bucket(b); i++ { // they share a bucket, as one pair in 256 does
		b = netip.AddrFrom4([4]byte{192, 0, 2, i})
	}
	now := time.Now()
	took := func(d time.Duration) (n int) {
		for now = now.Add(d); th.take(a, now); n++ {
		}
		return n
	}
	// 400 machines behind one relay, each with two messages, are no flood.
	if n := took(0); n != throttleBurst || n < 800 {
		t.Errorf("%d answers at once", n)
	}
	if n := took(time.Second); n != throttleRate {
		t.Errorf("%d answers in the next second", n)
	}
	if n := took(time.Hour); n != throttleBurst {
		t.Errorf("%d answers after an hour", n)
	}
	if !th.take(b, now) {
		t.Error("another's answers are held back too")
	}
	if bits := float64(throttleRate * minDatagram * 8); bits > 1e6 {
		t.Errorf("%.0f bit/s go to whom a stranger names", bits)
	}
}

// Whom a stranger names, as a relay or as the sender, is neither everyone nor
// flooded.
func TestNobodyIsFlooded(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "10.77.0.50/24")
	ip(t, a, "route", "add", "default", "via", "10.77.0.50")
	serve(t, a, Proxy, nil)
	w := onWire(t, b)
	if err := w.only(portServer); err != nil { // to relays, and to whom has sent from that port
		t.Fatal(err)
	}
	pxe := append(rom, option(77, "iPXE"))
	discover := func(giaddr string) []byte {
		return message(dhcpv4.MessageTypeDiscover, append(pxe, dhcpv4.WithRelay(net.ParseIP(giaddr)))...)
	}
	// asked sends a message n times and counts the answers to an address.
	asked := func(n int, from string, port uint16, raw []byte, answers string) (heard int, took time.Duration) {
		t.Helper()
		start, buf := time.Now(), make([]byte, maxMessage)
		hear := func(d time.Duration) {
			for w.f.SetReadDeadline(time.Now().Add(d)); ; {
				size, err := w.f.Read(buf)
				if err != nil {
					return
				}
				if _, sender, err := unframe(buf[:size], portServer); err == nil && sender.Addr() == me.addr && netip.AddrFrom4([4]byte(buf[30:34])).String() == answers {
					heard++
				}
			}
		}
		for range n {
			if err := w.send(broadcast, netip.MustParseAddrPort(from), netip.AddrPortFrom(me.addr, port), raw); err != nil {
				t.Fatal(err)
			}
			hear(200 * time.Microsecond)
		}
		hear(500 * time.Millisecond)
		return heard, time.Since(start)
	}
	request := message(dhcpv4.MessageTypeRequest, pxe...)

	if n, _ := asked(10, "10.77.0.50:67", portServer, discover("192.0.2.9"), "192.0.2.9"); n != 10 {
		t.Errorf("%d answers of 10 go to a relay elsewhere", n)
	}
	if n, _ := asked(10, "192.0.2.8:67", portBINL, request, "192.0.2.8"); n != 10 {
		t.Errorf("%d answers of 10 go to a client of port 4011 elsewhere", n)
	}
	if n, _ := asked(10, "10.77.0.50:67", portServer, discover("10.77.0.255"), "10.77.0.255"); n != 0 {
		t.Errorf("%d answers go to a relay whose address is everyone's", n)
	}
	if n, _ := asked(10, "10.77.0.255:67", portBINL, request, "10.77.0.255"); n != 0 {
		t.Errorf("%d answers go to a client whose address is everyone's", n)
	}
	for what, ask := range map[string]func() (int, time.Duration){
		"a relay": func() (int, time.Duration) {
			return asked(3000, "10.77.0.50:67", portServer, discover("192.0.2.7"), "192.0.2.7")
		},
		"a client": func() (int, time.Duration) { return asked(3000, "192.0.2.6:67", portBINL, request, "192.0.2.6") },
	} {
		n, took := ask()
		if most := throttleBurst + int(took.Seconds()*throttleRate) + 1; n > most || n < throttleBurst/2 {
			t.Errorf("%s that a stranger names got %d answers in %v, want at most %d", what, n, took, most)
		}
	}
}

func TestStoreIsNotTold(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	path := filepath.Join(t.TempDir(), "db")
	leases, st := leasesAt(t, path, lab)
	s := serve(t, a, Full, leases)
	if err := st.Close(); err != nil { // as good as a disk that is full
		t.Fatal(err)
	}
	w := onWire(t, b)
	w.broadcast(t, message(dhcpv4.MessageTypeRequest, option(50, first)))
	s.waitFor(t, "no address: the appliance could not store it; its log says why")
	if said := s.noted(); strings.Contains(said, path) || strings.Contains(said, "database") {
		t.Errorf("what the store says is told to all: %s", said)
	}
}
