package dhcp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// quickRouter listens for half a second instead of three and a half.
var quickRouter = Timing{Pause: 20 * time.Millisecond, RouterWait: 500 * time.Millisecond, RouterAsk: 300 * time.Millisecond, RouterQuiet: time.Hour}

// route runs a router on eth0 of a namespace until the test ends.
func route(t *testing.T, ns *nettest.NS) (said func() string) {
	t.Helper()
	var r *router
	var err error
	ns.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			r, err = openRouter(ifi)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var texts []string
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, quickRouter, func(text string) {
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, text)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(texts, "\n")
	}
}

// solicitor is a machine that asks for routers, as iPXE does.
func solicitor(t *testing.T, ns *nettest.NS) *router {
	t.Helper()
	var r *router
	ns.Do(t, func() {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if r, err = openRouter(ifi); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { r.f.Close() })
	return r
}

// solicits sends what iPXE sends and returns the advertisement that came, or nil.
func (r *router) solicits(t *testing.T, wait time.Duration) []byte {
	t.Helper()
	buf := make([]byte, maxMessage)
	r.f.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for err := error(nil); err == nil; { // what was meant for an earlier one
		_, err = r.f.Read(buf)
	}
	icmp := append([]byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0, 1, 1}, r.mac[:]...)
	if err := r.send(groupMAC(allRouters), allRouters, icmp); err != nil {
		t.Fatal(err)
	}
	r.f.SetReadDeadline(time.Now().Add(wait))
	for {
		n, err := r.f.Read(buf)
		if err != nil {
			return nil
		}
		if src, _, kind, ok := unframe6(buf[:n]); ok && src != r.mac && kind == routerAdvertisement {
			return buf[:n]
		}
	}
}

func TestRouter(t *testing.T) {
	for _, v6 := range []string{"0", "1"} {
		t.Run("disable_ipv6="+v6, func(t *testing.T) {
			a, b := nettest.Pair(t, ours+"/24", "")
			sysctl(t, a, "net.ipv6.conf.eth0.disable_ipv6="+v6)
			said := route(t, a)
			m := solicitor(t, b)
			if ra := m.solicits(t, 100*time.Millisecond); ra != nil {
				t.Errorf("answered before it had listened: %x", ra)
			}
			time.Sleep(quickRouter.RouterWait)
			ra := m.solicits(t, 2*time.Second)
			if ra == nil {
				t.Fatalf("not answered; said %q", said())
			}
			icmp := ra[54:]
			if [6]byte(ra[:6]) != m.mac || netip.AddrFrom16([16]byte(ra[38:54])) != m.addr {
				t.Errorf("sent to others too: %x", ra)
			}
			if lifetime := binary.BigEndian.Uint16(icmp[6:]); lifetime != 0 || icmp[5] != 0 || len(icmp) != 16 {
				t.Errorf("lifetime %d, flags %#x, %d bytes: it must be no router and bring no prefix", lifetime, icmp[5], len(icmp))
			}
			if said() != "" {
				t.Errorf("said %q, where there is no other router", said())
			}
		})
	}
}

// Beside a router there is no second voice, whether it was there first or came later.
func TestRouterBesideAnother(t *testing.T) {
	hosts := lan(t, ours+"/24", "10.77.0.2/24", "")
	m := solicitor(t, hosts[2])
	said := route(t, hosts[0])
	time.Sleep(quickRouter.RouterWait)
	if m.solicits(t, 2*time.Second) == nil {
		t.Fatal("alone, it does not answer")
	}
	ip(t, hosts[1], "addr", "add", "fd00:77::2/64", "dev", "eth0", "nodad")
	dnsmasq(t, hosts[1], "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--enable-ra", "--dhcp-range=::,constructor:eth0,ra-only")
	// It tells only who asks it, so we ask again when we were asked.
	for range 50 {
		if said() != "" {
			break
		}
		m.solicits(t, 100*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
	}
	if !strings.Contains(said(), "an IPv6 router is here") || strings.Contains(said(), "\n") {
		t.Fatalf("said %q", said())
	}
	mine := linkLocal(hostMAC(t, hosts[0]))
	for range 5 {
		ra := m.solicits(t, 300*time.Millisecond)
		if ra != nil && netip.AddrFrom16([16]byte(ra[22:38])) == mine {
			t.Errorf("answered beside a router: %x", ra)
		}
	}
	// One that starts where a router is hears it before it says anything.
	said = route(t, hosts[0])
	time.Sleep(quickRouter.RouterWait)
	if said() == "" {
		t.Error("did not hear the router that was there")
	}
}

func FuzzUnframe6(f *testing.F) {
	src := boot.MAC{2, 0, 0, 0, 0, 1}
	f.Add(frame6(src, groupMAC(allRouters), linkLocal(src), allRouters, []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		from, addr, kind, ok := unframe6(raw)
		if !ok {
			return
		}
		// What is believed is what frame6 would have made of it.
		n := int(binary.BigEndian.Uint16(raw[18:]))
		again := frame6(from, boot.MAC(raw[:6]), addr, netip.AddrFrom16([16]byte(raw[38:54])), append([]byte{}, raw[54:54+n]...))
		if kind != again[54] || binary.BigEndian.Uint16(again[56:]) != binary.BigEndian.Uint16(raw[56:]) && n < 256 {
			t.Fatalf("%x is not %x", raw, again)
		}
	})
}

func sysctl(t *testing.T, ns *nettest.NS, set string) {
	t.Helper()
	name, value, _ := strings.Cut(set, "=")
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	ns.Do(t, func() {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	})
}

func ip(t *testing.T, ns *nettest.NS, args ...string) {
	t.Helper()
	if out, err := exec.Command(nettest.Need(t, "ip"), append([]string{"-n", ns.Name}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func hostMAC(t *testing.T, ns *nettest.NS) (m boot.MAC) {
	t.Helper()
	ns.Do(t, func() {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		m = boot.MAC(ifi.HardwareAddr)
	})
	return m
}
