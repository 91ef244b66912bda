package dhcp

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/nettest"
)

// sixNets is what serveOn sets in a Server.
var sixNets []lease.Subnet

// ISC's client takes an address, renews and releases it, on a link with an
// address of the network that is configured; on another nobody answers.
func TestSixServes(t *testing.T) {
	dhclient := nettest.Need(t, "dhclient")
	a, b := nettest.Pair(t, ours+"/24", "")
	ip(t, a, "addr", "add", "fd00:77::1/64", "dev", "eth0", "nodad")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	s := serveOn(t, a, "eth0", Full, leases, firstFile)
	if s.six != nil {
		t.Fatal("it answers DHCPv6 without a network")
	}
	s.stop()
	six := lab6
	six.Lease = 10 * time.Second // T1 after 5
	s = serveSix(t, a, leases, six)
	linkLocalOf(t, a)
	mine := linkLocalOf(t, b)

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
	for range 200 {
		if strings.Contains(s.noted(), "RENEW") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	got, _ := os.ReadFile(filepath.Join(dir, "got"))
	if !strings.Contains(string(got), "BOUND6 fd00:77::10") || !strings.Contains(string(got), "dns fd00:77::1 fd00:77::2 valid 10") {
		t.Errorf("dhclient got %q", got)
	}
	if out, err := b.Command(t, dhclient, append([]string{"-r"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("dhclient -r: %v: %s", err, out)
	}
	s.waitFor(t, "RELEASE from a DHCP client on eth0: release of [fd00:77::10")
	for _, want := range []string{"SOLICIT from a DHCP client on eth0: offered fd00:77::10", "REQUEST from a DHCP client on eth0: leased", "RENEW from a DHCP client on eth0: leased"} {
		if !strings.Contains(s.noted(), want) {
			t.Errorf("not noted: %q; noted\n%s", want, s.noted())
		}
	}
	if mac := hostMAC(t, b); mine != linkLocal(mac) || !lab6.Prefix.Contains(s.sawAt(mac)) {
		t.Errorf("saw %s at %s", mac, s.sawAt(mac))
	}

	// A second one does not start beside it.
	second := &Server{Mode: Full, Interface: "eth0", Leases: leases, Six: []lease.Subnet{six}, Log: s.Log}
	var err error
	a.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			second.conns = map[uint16]*net.UDPConn{}
			if second.router, err = openRouter(ifi); err == nil {
				err = second.openSix(ifi)
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "port 547 on eth0 is taken") || len(second.conns) != 0 {
		t.Errorf("a second server on the port: %v", err)
	}
}

// serveSix is serve in full mode, with a network of IPv6.
func serveSix(t *testing.T, ns *nettest.NS, leases *lease.Leases, n lease.Subnet) *running {
	t.Helper()
	sixNets = []lease.Subnet{n}
	defer func() { sixNets = nil }()
	return serveOn(t, ns, "eth0", Full, leases, firstFile)
}

// linkLocalOf waits until eth0's link-local address can be used (RFC 4862 section 5.4).
func linkLocalOf(t *testing.T, ns *nettest.NS) netip.Addr {
	t.Helper()
	for range 100 {
		out, err := ns.Command(t, nettest.Need(t, "ip"), "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").Output()
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(out)); len(fields) > 3 && !strings.Contains(string(out), "tentative") {
			return netip.MustParsePrefix(fields[3]).Addr()
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("no link-local address")
	return netip.Addr{}
}
