package dhcp

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// giaddr is where the answer goes: it must be a machine's address.
func TestNoRelay(t *testing.T) {
	for addr, relay := range map[string]bool{
		"10.77.0.254": true, "192.0.2.1": true, "223.255.255.254": true,
		"255.255.255.255": false, "224.0.0.1": false, "127.0.0.1": false, "0.0.0.7": false, "240.0.0.1": false, "169.254.1.1": false,
	} {
		_, err := decode(message(dhcpv4.MessageTypeDiscover, dhcpv4.WithRelay(net.ParseIP(addr))))
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
			p, err := decode(message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), option(code, value))...))
			if err != nil {
				t.Fatal(err)
			}
			q := read(p, "eth0", nobody, portServer)
			if len(q.clientID()) > 255 || len(q.Circuit) > 2*255 {
				t.Errorf("option %d of %d bytes: an identifier of %d and a circuit of %d are kept", code, n, len(q.clientID()), len(q.Circuit))
			}
			if a := answerTo(q, Full); len(a.raw) > maxLength(p) || a.raw == nil {
				t.Errorf("option %d of %d bytes: answered with %d, want at most %d", code, n, len(a.raw), maxLength(p))
			}
		}
	}
}

// What goes to whom a stranger names is bounded, yet a bench of machines behind
// one relay is no flood.
func TestRateOfAnswers(t *testing.T) {
	if machines := 400; rateBurst < 2*machines {
		t.Errorf("%d answers at once are less than %d machines ask for", rateBurst, machines)
	}
	if bits := float64(ratePerSecond * minDatagram * 8); bits > 1e6 {
		t.Errorf("%.0f bit/s go to whom a stranger names", bits)
	}
}

// Whom a stranger names, as a relay or as the sender, is neither everyone nor
// flooded.
func TestNobodyIsFlooded(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "10.77.0.50/24")
	a.IP(t, "route", "add", "default", "via", "10.77.0.50")
	s := serve(t, a, Proxy, nil)
	w := newTap(t, b, portServer) // of relays, and of who has sent from that port
	pxe := append(rom, option(77, "iPXE"))
	discover := func(giaddr string) []byte {
		return message(dhcpv4.MessageTypeDiscover, append(pxe, dhcpv4.WithRelay(net.ParseIP(giaddr)))...)
	}
	request := message(dhcpv4.MessageTypeRequest, pxe...)
	for _, tt := range []struct {
		name    string
		n       int
		from    string
		port    uint16
		raw     []byte
		answers string // address that they go to
		refused bool
	}{
		{"a relay elsewhere", 10, "10.77.0.50:67", portServer, discover("192.0.2.9"), "192.0.2.9", false},
		{"a client elsewhere", 10, "192.0.2.8:67", portBINL, request, "192.0.2.8", false},
		{"a relay with everyone's address", 10, "10.77.0.50:67", portServer, discover("10.77.0.255"), "10.77.0.255", true},
		{"a client with everyone's address", 10, "10.77.0.255:67", portBINL, request, "10.77.0.255", true},
		{"a relay, again and again", 3000, "10.77.0.50:67", portServer, discover("192.0.2.7"), "192.0.2.7", false},
		{"a client, again and again", 3000, "192.0.2.6:67", portBINL, request, "192.0.2.6", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start, to := time.Now(), netip.AddrPortFrom(us.addr, tt.port)
			frame := wire.UDP4(w.MAC, wire.Broadcast, netip.MustParseAddrPort(tt.from), to, tt.raw)
			// Few at a time, so that no buffer on the way overflows.
			answers, before := 0, len(s.texts())
			for sent := 0; sent < tt.n; {
				for range min(50, tt.n-sent) {
					if err := w.Send(frame); err != nil {
						t.Fatal(err)
					}
					sent++
				}
				nettest.Eventually(t, "the packets to be handled", func() bool { return len(s.texts()) == before+sent })
				answers += w.countTo(t, netip.MustParseAddr(tt.answers))
			}
			failed := strings.Count(strings.Join(s.texts()[before:], "\n"), "could not be sent")
			switch most := rateBurst + int(time.Since(start).Seconds()*ratePerSecond) + 1; {
			case tt.refused && (answers > 0 || failed < tt.n):
				t.Errorf("%d answers are sent, %d are not", answers, failed)
			case tt.refused:
			case answers+failed != tt.n || tt.n == 10 && failed > 0:
				t.Errorf("%d answers came and %d were not sent, of %d", answers, failed, tt.n)
			case answers > most || tt.n > most && answers < rateBurst:
				t.Errorf("%d answers, want at most %d", answers, most)
			}
		})
	}
}

// countTo counts the answers to an address that have come.
func (w tap) countTo(t *testing.T, to netip.Addr) (n int) {
	t.Helper()
	buf := make([]byte, wire.MaxMessage)
	for w.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); ; {
		size, err := w.Read(buf)
		if err != nil {
			return n
		}
		_, sender, err := wire.ParseUDP4(buf[:size], portServer)
		if err == nil && sender.Addr() == us.addr && netip.AddrFrom4([4]byte(buf[30:34])) == to {
			n++
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
	w := newTap(t, b, portClient)
	w.broadcast(t, message(dhcpv4.MessageTypeRequest, option(50, first)))
	s.waitFor(t, "no address: the appliance could not store it; its log says why")
	if said := s.noted(); strings.Contains(said, path) || strings.Contains(said, "database") {
		t.Errorf("what the store says is told to all: %s", said)
	}
}
