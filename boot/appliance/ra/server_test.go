package ra

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
)

// quick listens for half a second instead of three and a half.
var quick = Timing{
	Timing: wire.Timing{Pause: 20 * time.Millisecond},
	Listen: 500 * time.Millisecond, Solicit: 300 * time.Millisecond, Quiet: time.Hour,
}

// A logbook is what a server logs.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) routers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "an IPv6 router is here")
}

// serve runs a server on eth0 of a namespace until the test ends.
func serve(t *testing.T, ns *nettest.NS) *logbook {
	t.Helper()
	log := new(logbook)
	s := &Server{Interface: "eth0", Timing: quick, Log: slog.New(slog.NewTextHandler(log, nil))}
	var err error
	ns.Do(t, func() { err = s.Listen() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return log
}

// A machine asks for routers, as iPXE does.
type machine struct{ *wire.Conn }

func newMachine(t *testing.T, ns *nettest.NS) machine {
	t.Helper()
	var c *wire.Conn
	var err error
	ns.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			c, err = wire.Open(ifi, wire.IPv6)
		}
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		err = c.Filter(wire.Routers())
	}
	if err == nil {
		err = c.Join(wire.AllNodes)
	}
	if err != nil {
		t.Fatal(err)
	}
	return machine{c}
}

func (m machine) addr() netip.Addr { return wire.LinkLocal(m.MAC) }

// solicit sends what iPXE sends.
func (m machine) solicit(t *testing.T) {
	t.Helper()
	frame := wire.ICMP6(m.MAC, wire.GroupMAC(wire.AllRouters), m.addr(), wire.AllRouters, wire.Solicit(m.MAC))
	if err := m.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// advertisement returns the next frame with one, nil where none came in time.
func (m machine) advertisement(wait time.Duration) []byte {
	m.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, wire.MaxMessage)
	for {
		n, err := m.Read(buf)
		if err != nil {
			return nil
		}
		if src, _, message, ok := wire.ParseICMP6(buf[:n]); ok && src != m.MAC && message[0] == wire.RouterAdvertisement {
			return buf[:n]
		}
	}
}

// asks solicits until an advertisement comes, as iPXE does.
func (m machine) asks(t *testing.T) []byte {
	t.Helper()
	var frame []byte
	nettest.Eventually(t, "a router advertisement", func() bool {
		m.solicit(t)
		frame = m.advertisement(time.Second)
		return frame != nil
	})
	return frame
}

func TestServer(t *testing.T) {
	for _, disable := range []string{"0", "1"} {
		t.Run("disable_ipv6="+disable, func(t *testing.T) {
			a, b := nettest.Pair(t, "10.77.0.1/24", "")
			a.Sysctl(t, "net.ipv6.conf.eth0.disable_ipv6", disable)
			m := newMachine(t, b)
			start := time.Now()
			log := serve(t, a)
			frame := m.asks(t)
			if took := time.Since(start); took < quick.Listen {
				t.Errorf("answered after %v, before it had listened", took)
			}
			message := frame[54:]
			if [6]byte(frame[:6]) != m.MAC || netip.AddrFrom16([16]byte(frame[38:54])) != m.addr() {
				t.Errorf("sent to others too: %x", frame)
			}
			if lifetime := binary.BigEndian.Uint16(message[6:]); lifetime != 0 || message[5] != 0 || len(message) != 16 {
				t.Errorf("lifetime %d, flags %#x, %d bytes: it must be no router and bring no prefix", lifetime, message[5], len(message))
			}
			if log.routers() > 0 {
				t.Error("it hears a router where there is none")
			}
		})
	}
}

// Beside a router there is no second voice, whether it was there first or came
// later.
func TestBesideAnother(t *testing.T) {
	hosts := nettest.LAN(t, "10.77.0.1/24", "10.77.0.2/24", "")
	m := newMachine(t, hosts[2])
	log := serve(t, hosts[0])
	m.asks(t) // alone, it answers
	hosts[1].IP(t, "addr", "add", "fd00:77::2/64", "dev", "eth0", "nodad")
	hosts[1].Dnsmasq(t, "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--enable-ra", "--dhcp-range=::,constructor:eth0,ra-only")
	// It tells only who asks it. So we ask again when we were asked.
	nettest.Eventually(t, "the router to be heard", func() bool {
		m.solicit(t)
		m.advertisement(100 * time.Millisecond)
		return log.routers() > 0
	})
	for m.advertisement(time.Second) != nil { // what came before
	}
	ours := wire.LinkLocal(hosts[0].MAC(t))
	for range 5 {
		m.solicit(t)
		if frame := m.advertisement(300 * time.Millisecond); frame != nil && netip.AddrFrom16([16]byte(frame[22:38])) == ours {
			t.Errorf("answered beside a router: %x", frame)
		}
	}
	if n := log.routers(); n != 1 {
		t.Errorf("the router is reported %d times", n)
	}
	// One that starts where a router is hears it before it says anything.
	second := serve(t, hosts[0])
	nettest.Eventually(t, "the router to be heard again", func() bool { return second.routers() > 0 })
}

// With a pool the advertisement says where addresses are to be had, and that
// the network is on the link. Its sender is no router, and nobody makes an
// address of his own.
func TestAdvertisement(t *testing.T) {
	mac := wire.MAC{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		name    string
		managed netip.Prefix
		want    string
	}{
		{"with a pool", netip.MustParsePrefix("fd00:77::/64"), "86000000" + "40800000" + "00000000" + "00000000" + "0101020000000001" +
			"03044080" + "00278d00" + "00093a80" + "00000000" + "fd000077000000000000000000000000"},
		{"without", netip.Prefix{}, "86000000" + "40000000" + "00000000" + "00000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(wire.Advertise(mac, tt.managed)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
