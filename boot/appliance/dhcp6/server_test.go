package dhcp6

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
)

// running is a Server in a namespace and what it noted.
type running struct {
	*Server

	mu    sync.Mutex
	notes []string
	seen  map[boot.MAC]netip.Addr
}

// serve starts a server on eth0 of a namespace, which ends with the test.
func serve(t *testing.T, ns *nettest.NS) *running {
	t.Helper()
	subnet := lab
	subnet.Lease = 10 * time.Second // T1 after 5
	r := &running{seen: map[boot.MAC]netip.Addr{}}
	r.Server = serverOn(t, memory(t), subnet)
	r.Decide = func(_ context.Context, q boot.Request) (boot.BootInfo, error) { return firstFile(q), nil }
	r.Note = func(ev boot.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, ev.Text)
	}
	r.Seen = func(m boot.MAC, a netip.Addr) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen[m] = a
	}
	var err error
	ns.Do(t, func() { err = r.Listen() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

func (r *running) noted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.notes, "\n")
}

func (r *running) sawAt(m boot.MAC) netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[m]
}

// ISC's client takes an address, renews and releases it.
func TestServesRealClient(t *testing.T) {
	dhclient := nettest.Need(t, "dhclient")
	a, b := nettest.Pair(t, "10.77.0.1/24", "")
	a.IP(t, "addr", "add", "fd00:77::1/64", "dev", "eth0", "nodad")
	s := serve(t, a)
	a.LinkLocal(t)
	from := b.LinkLocal(t)

	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	body := "#!/bin/sh\n[ -z \"$new_ip6_address\" ] || echo \"$reason $new_ip6_address/$new_ip6_prefixlen dns $new_dhcp6_name_servers valid $new_max_life\" >> " + dir + "/got\n"
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-6", "-d", "-v", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-cf", "/dev/null", "eth0"}
	cmd := b.Command(t, dhclient, args...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "a RENEW", func() bool { return strings.Contains(s.noted(), "RENEW") })
	cmd.Process.Kill()
	cmd.Wait()
	got, _ := os.ReadFile(filepath.Join(dir, "got"))
	if !strings.Contains(string(got), "BOUND6 fd00:77::10") || !strings.Contains(string(got), "dns fd00:77::1 fd00:77::2 valid 10") {
		t.Errorf("dhclient got %q", got)
	}
	if out, err := b.Command(t, dhclient, append([]string{"-r"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("dhclient -r: %v: %s", err, out)
	}
	const released = "RELEASE from a DHCP client on eth0: release of [fd00:77::10"
	nettest.Eventually(t, released, func() bool { return strings.Contains(s.noted(), released) })
	for _, want := range []string{"SOLICIT from a DHCP client on eth0: offered fd00:77::10", "REQUEST from a DHCP client on eth0: leased", "RENEW from a DHCP client on eth0: leased"} {
		if !strings.Contains(s.noted(), want) {
			t.Errorf("not noted: %q; noted\n%s", want, s.noted())
		}
	}
	if mac := b.MAC(t); from != wire.LinkLocal(mac) || !lab.Prefix.Contains(s.sawAt(mac)) {
		t.Errorf("saw %v at %s", mac, s.sawAt(mac))
	}

	t.Run("a second one", func(t *testing.T) {
		second := &Server{Interface: "eth0", Addr: s.Addr, Subnet: s.Subnet, Leases: s.Leases, Log: s.Log}
		var err error
		a.Do(t, func() { err = second.Listen() })
		if err == nil || !strings.Contains(err.Error(), "port 547 on eth0 is taken") {
			t.Errorf("it starts beside the first: %v", err)
		}
	})
}

func TestListenErrors(t *testing.T) {
	leases, addr := new(lease.Leases6), netip.MustParseAddr("fd00:77::1")
	for _, tt := range []struct {
		name string
		s    *Server
		want string
	}{
		{"no leases", &Server{Addr: addr, Subnet: lab}, "no leases"},
		{"an address of another network", &Server{Addr: netip.MustParseAddr("fd00:78::1"), Subnet: lab, Leases: leases}, "fd00:78::1 is no address of the network fd00:77::/64"},
		{"IPv4", &Server{Addr: netip.MustParseAddr("10.77.0.1"), Subnet: lab, Leases: leases}, "10.77.0.1 is no address"},
		{"no such interface", &Server{Interface: "none", Addr: addr, Subnet: lab, Leases: leases}, "interface none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.s.Listen(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
}
