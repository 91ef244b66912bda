package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/bolt"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

var lab = lease.Subnet{
	Prefix:   netip.MustParsePrefix("10.77.0.0/24"),
	PoolFrom: netip.MustParseAddr("10.77.0.100"), PoolTo: netip.MustParseAddr("10.77.0.109"),
	Router: netip.MustParseAddr("10.77.0.1"), DNS: []netip.Addr{netip.MustParseAddr("10.77.0.1")}, Lease: time.Hour,
}

const ours = "10.77.0.1"

// running is a Server in a namespace and what it noted.
type running struct {
	*Server
	stop func()

	mu    sync.Mutex
	texts []string
	seen  map[boot.MAC]netip.Addr
}

// firstFile gives each loader the first of its files.
func firstFile(h Hearing) (Reply, error) {
	reply := Reply{Machine: "m-" + h.MAC.String()}
	if l := h.Loader; l != nil && len(l.Files) > 0 {
		reply.Bootfile = l.Files[0]
		if l.HTTP {
			reply.Bootfile = "http://" + h.Next.String() + "/" + reply.Bootfile
		}
	}
	return reply, nil
}

// serve starts a server on eth0 of a namespace; it ends with the test, or by stop.
func serve(t *testing.T, ns *nettest.NS, mode Mode, leases *lease.Leases) *running {
	t.Helper()
	return serveOn(t, ns, "eth0", mode, leases, firstFile)
}

func serveOn(t *testing.T, ns *nettest.NS, iface string, mode Mode, leases *lease.Leases, decide func(Hearing) (Reply, error)) *running {
	t.Helper()
	r := &running{seen: map[boot.MAC]netip.Addr{}}
	r.Server = &Server{
		Mode: mode, Interface: iface, Leases: leases, Six: sixNets,
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Decide: func(_ context.Context, h Hearing) (Reply, error) { return decide(h) },
		Note: func(ev boot.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.texts = append(r.texts, ev.Text)
		},
		Seen: func(m boot.MAC, a netip.Addr) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen[m] = a
		},
	}
	var err error
	ns.Do(t, func() { err = r.Listen() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) noted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.texts, "\n")
}

func (r *running) sawAt(m boot.MAC) netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[m]
}

func leasesAt(t *testing.T, path string, subnet lease.Subnet, hosts ...lease.Host) (*lease.Leases, store.Store) {
	t.Helper()
	return leasesOf(t, path, []lease.Subnet{subnet}, hosts)
}

func leasesOf(t *testing.T, path string, subnets []lease.Subnet, hosts []lease.Host) (*lease.Leases, store.Store) {
	t.Helper()
	st, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	l, err := lease.New(t.Context(), st, subnets, hosts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l, st
}

// udhcpc runs BusyBox's client once and returns the address it got.
func udhcpc(t *testing.T, ns *nettest.NS, args ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	body := "#!/bin/sh\n[ \"$1\" = bound ] || [ \"$1\" = renew ] && echo \"got $ip/$mask router $router dns $dns lease $lease from $serverid next $siaddr\"\nexit 0\n"
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "4", "-T", "1", "-s", script}, args...)
	out, err := ns.Command(t, nettest.Need(t, "busybox"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("udhcpc: %v: %s", err, out)
		return ""
	}
	for _, line := range strings.Split(string(out), "\n") {
		if got, ok := strings.CutPrefix(line, "got "); ok {
			return got
		}
	}
	t.Errorf("udhcpc got nothing: %s", out)
	return ""
}

// watch runs a client that does not end by itself until it says a word.
func watch(t *testing.T, ctx context.Context, cmd *exec.Cmd, word string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	deadline, _ := ctx.Deadline()
	r.SetReadDeadline(deadline)
	var out []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(out), word) {
		n, err := r.Read(buf)
		if out = append(out, buf[:n]...); err != nil {
			break
		}
	}
	return string(out)
}

// A testWire sends and hears whole frames on eth0 of a namespace.
type testWire struct {
	*wire
	f *os.File
}

func onWire(t *testing.T, ns *nettest.NS) testWire {
	t.Helper()
	var w *wire
	ns.Do(t, func() {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if w, err = openWire(ifi, unix.ETH_P_IP); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.only(portClient); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(w.fd), "packet")
	t.Cleanup(func() { f.Close() })
	return testWire{w, f}
}

func (w testWire) broadcast(t *testing.T, raw []byte) {
	t.Helper()
	if err := w.send(broadcast, nobody, netip.MustParseAddrPort("255.255.255.255:67"), raw); err != nil {
		t.Fatal(err)
	}
}

// hear collects what is said to clients for a while, by the server that said it.
func (w testWire) hear(t *testing.T, d time.Duration) map[netip.Addr]*dhcpv4.DHCPv4 {
	t.Helper()
	got := map[netip.Addr]*dhcpv4.DHCPv4{}
	w.f.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, maxMessage)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return got
		}
		payload, from, err := unframe(buf[:n], portClient)
		if err != nil {
			continue
		}
		p, err := dhcpv4.FromBytes(payload)
		if err != nil {
			t.Fatal(err)
		}
		got[from.Addr()] = p
	}
}

func (r *running) waitFor(t *testing.T, text string) {
	t.Helper()
	for range 100 {
		if strings.Contains(r.noted(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("waited for %q, noted %s", text, r.noted())
}

// ask sends from a client that has an address, and returns the answer.
func ask(t *testing.T, ns *nettest.NS, from, to netip.AddrPort, raw []byte) *dhcpv4.DHCPv4 {
	t.Helper()
	var conn *net.UDPConn
	ns.Do(t, func() {
		var err error
		if conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	})
	defer conn.Close()
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, maxMessage)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("no answer to %s: %v", from, err)
	}
	p, err := dhcpv4.FromBytes(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dnsmasq runs one as DHCP server on eth0 of a namespace until the test ends.
func dnsmasq(t *testing.T, ns *nettest.NS, args ...string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	args = append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--dhcp-authoritative", "--log-dhcp", "--log-facility=" + log, "--user=root",
		"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--pid-file=" + filepath.Join(dir, "pid"),
	}, args...)
	cmd := ns.Command(t, nettest.Need(t, "dnsmasq"), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log)
			t.Logf("dnsmasq: %s", b)
		}
	})
	for range 50 {
		if b, _ := os.ReadFile(log); strings.Contains(string(b), "DHCP, IP range") {
			time.Sleep(100 * time.Millisecond) // its socket is opened before, its loop starts after
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b, _ := os.ReadFile(log)
	t.Fatalf("dnsmasq did not start: %s", b)
}

// lan puts namespaces, each with eth0, on one Ethernet switch.
func lan(t *testing.T, addrs ...string) []*nettest.NS {
	t.Helper()
	ip := func(args ...string) {
		if out, err := exec.Command(nettest.Need(t, "ip"), args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	var hosts []*nettest.NS
	var sw *nettest.NS
	for i, addr := range addrs {
		host, end := nettest.Pair(t, addr, "")
		port := fmt.Sprintf("port%d", i)
		ip("-n", end.Name, "link", "set", "eth0", "name", port)
		if sw == nil {
			sw = end
			ip("-n", sw.Name, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
			ip("-n", sw.Name, "link", "set", "br0", "up")
		} else {
			ip("-n", end.Name, "link", "set", port, "netns", sw.Name)
		}
		ip("-n", sw.Name, "link", "set", port, "master", "br0", "up")
		hosts = append(hosts, host)
	}
	return hosts
}
