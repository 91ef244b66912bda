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

// What goes to whom a stranger names is bounded. Yet a bench of machines behind
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
			// Addresses may share a bucket of the rate, so each has a server of its own.
			a, b := nettest.Pair(t, ours+"/24", "10.77.0.50/24")
			a.IP(t, "route", "add", "default", "via", "10.77.0.50")
			s := serve(t, a, Proxy, nil)
			w := newTap(t, b, portServer) // of relays, and of who has sent from that port
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
				answers += w.countTo(t, netip.MustParseAddr(tt.answers), 5*time.Millisecond)
			}
			took := time.Since(start)
			failed := strings.Count(strings.Join(s.texts()[before:], "\n"), "could not be sent")
			if tt.refused {
				answers += w.countTo(t, netip.MustParseAddr(tt.answers), 500*time.Millisecond)
				if answers > 0 || failed < tt.n {
					t.Errorf("%d answers are sent, %d are not", answers, failed)
				}
				return
			}
			nettest.Eventually(t, "the answers to come", func() bool {
				answers += w.countTo(t, netip.MustParseAddr(tt.answers), 5*time.Millisecond)
				return answers+failed >= tt.n
			})
			most := rateBurst + int(took.Seconds()*ratePerSecond) + 1
			if answers > most || answers < min(tt.n, rateBurst) {
				t.Errorf("%d answers, want at most %d of %d", answers, most, tt.n)
			}
		})
	}
}

// countTo counts the answers to an address that come within a time.
func (w tap) countTo(t *testing.T, to netip.Addr, within time.Duration) (n int) {
	t.Helper()
	buf := make([]byte, wire.MaxMessage)
	for w.SetReadDeadline(time.Now().Add(within)); ; {
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
