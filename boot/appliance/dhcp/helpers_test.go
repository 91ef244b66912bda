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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/bolt"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
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
	notes []string
	seen  map[boot.MAC]netip.Addr
}

// firstFile gives each loader the first of its files.
func firstFile(r boot.Request) (boot.BootInfo, error) {
	info := boot.BootInfo{Machine: "m-" + r.MAC.String()}
	if l := r.Loader; l != nil && len(l.Files) > 0 {
		info.Bootfile = l.Files[0]
		if l.HTTP {
			info.Bootfile = "http://" + r.Server.String() + "/" + info.Bootfile
		}
	}
	return info, nil
}

// serve starts a server on eth0 of a namespace; it ends with the test, or by stop.
func serve(t *testing.T, ns *nettest.NS, mode Mode, leases *lease.Leases) *running {
	t.Helper()
	return serveOn(t, ns, "eth0", mode, leases, firstFile)
}

func serveOn(t *testing.T, ns *nettest.NS, iface string, mode Mode, leases *lease.Leases, decide func(boot.Request) (boot.BootInfo, error)) *running {
	t.Helper()
	r := &running{seen: map[boot.MAC]netip.Addr{}}
	r.Server = &Server{
		Mode: mode, Interface: iface, Leases: leases,
		Timing: Timing{Timing: wire.Timing{Look: 50 * time.Millisecond}},
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Decide: func(_ context.Context, h boot.Request) (boot.BootInfo, error) { return decide(h) },
		Note: func(ev boot.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.notes = append(r.notes, ev.Text)
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

// texts are those of the events that were noted.
func (r *running) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.notes)
}

func (r *running) noted() string { return strings.Join(r.texts(), "\n") }

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
	args = append([]string{"udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "40", "-T", "1", "-s", script}, args...)
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

// A tap sends and receives whole frames on eth0 of a namespace.
type tap struct{ *wire.Conn }

// newTap opens one that hears what is sent to a port.
func newTap(t *testing.T, ns *nettest.NS, port uint16) tap {
	t.Helper()
	var c *wire.Conn
	var err error
	ns.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			c, err = wire.Open(ifi, wire.IPv4)
		}
	})
	if err == nil {
		err = c.Filter(wire.UDPPort(port))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return tap{c}
}

func (w tap) broadcast(t *testing.T, raw []byte) {
	t.Helper()
	frame := wire.UDP4(w.MAC, wire.Broadcast, nobody, netip.MustParseAddrPort("255.255.255.255:67"), raw)
	if err := w.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// collect returns what is said to clients for a while, by the server that said it.
func (w tap) collect(t *testing.T, d time.Duration) map[netip.Addr]*dhcpv4.DHCPv4 {
	t.Helper()
	got := map[netip.Addr]*dhcpv4.DHCPv4{}
	w.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, wire.MaxMessage)
	for {
		n, err := w.Read(buf)
		if err != nil {
			return got
		}
		if from, p := w.message(t, buf[:n]); p != nil {
			got[from] = p
		}
	}
}

// next returns the next message to clients, and who sent it.
func (w tap) next(t *testing.T) (server netip.Addr, p *dhcpv4.DHCPv4) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, wire.MaxMessage)
	for {
		n, err := w.Read(buf)
		if err != nil {
			t.Fatalf("no message came: %v", err)
		}
		if server, p = w.message(t, buf[:n]); p != nil {
			return server, p
		}
	}
}

// wait returns our next message.
func (w tap) wait(t *testing.T) *dhcpv4.DHCPv4 {
	t.Helper()
	for {
		if server, p := w.next(t); server == us.addr {
			return p
		}
	}
}

func (w tap) message(t *testing.T, frame []byte) (from netip.Addr, p *dhcpv4.DHCPv4) {
	t.Helper()
	payload, sender, err := wire.ParseUDP4(frame, portClient)
	if err != nil {
		return from, nil
	}
	if p, err = dhcpv4.FromBytes(payload); err != nil {
		t.Fatal(err)
	}
	return sender.Addr(), p
}

// waitFor waits until the server has noted a text.
func (r *running) waitFor(t *testing.T, text string) {
	t.Helper()
	nettest.Eventually(t, fmt.Sprintf("%q", text), func() bool { return strings.Contains(r.noted(), text) })
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
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, wire.MaxMessage)
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
