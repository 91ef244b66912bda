package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// LAN puts namespaces on one Ethernet switch, each with eth0 and an address as
// in Pair.
func LAN(t testing.TB, addrs ...string) []*NS {
	t.Helper()
	var hosts []*NS
	var bridge *NS
	for i, addr := range addrs {
		host, end := Pair(t, addr, "")
		port := fmt.Sprintf("port%d", i)
		end.IP(t, "link", "set", "eth0", "name", port)
		if bridge == nil {
			bridge = end
			bridge.IP(t, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
			bridge.IP(t, "link", "set", "br0", "up")
		} else {
			end.IP(t, "link", "set", port, "netns", bridge.Name)
		}
		bridge.IP(t, "link", "set", port, "master", "br0", "up")
		hosts = append(hosts, host)
	}
	return hosts
}

// IP runs ip(8) on the namespace.
func (n *NS) IP(t testing.TB, args ...string) {
	t.Helper()
	ip(t, append([]string{"-n", n.Name}, args...)...)
}

// Sysctl sets a kernel parameter of the namespace, such as net.ipv6.conf.eth0.mtu.
func (n *NS) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	n.Do(t, func() {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	})
}

// Interface is the namespace's eth0.
func (n *NS) Interface(t testing.TB) (ifi *net.Interface) {
	t.Helper()
	var err error
	n.Do(t, func() { ifi, err = net.InterfaceByName("eth0") })
	if err != nil {
		t.Fatal(err)
	}
	return ifi
}

// MAC is the Ethernet address of the namespace's eth0.
func (n *NS) MAC(t testing.TB) [6]byte {
	t.Helper()
	return [6]byte(n.Interface(t).HardwareAddr)
}

// LinkLocal waits until eth0's link-local address can be used (RFC 4862 section
// 5.4), and returns it.
func (n *NS) LinkLocal(t testing.TB) (addr netip.Addr) {
	t.Helper()
	Eventually(t, "a link-local address", func() bool {
		out, err := n.Command(t, Need(t, "ip"), "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").Output()
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(out))
		if len(fields) < 4 || strings.Contains(string(out), "tentative") {
			return false
		}
		addr = netip.MustParsePrefix(fields[3]).Addr()
		return true
	})
	return addr
}

// Start runs a program in the namespace until the test ends. What it says is
// shown where the test fails. said returns what it has said so far.
func (n *NS) Start(t testing.TB, program string, args ...string) (said func() string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), program+".log"))
	if err != nil {
		t.Fatal(err)
	}
	said = func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	cmd := n.Command(t, Need(t, program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if t.Failed() {
			t.Logf("%s: %s", program, said())
		}
	})
	return said
}

// Dnsmasq runs dnsmasq as DHCP server on eth0 until the test ends. It returns
// once that has its sockets.
func (n *NS) Dnsmasq(t testing.TB, args ...string) {
	t.Helper()
	dir := t.TempDir()
	said := n.Start(t, "dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--dhcp-authoritative", "--log-dhcp", "--log-facility=-", "--user=root",
		"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--pid-file=" + filepath.Join(dir, "pid"),
	}, args...)...)
	Eventually(t, "dnsmasq to start", func() bool { return strings.Contains(said(), "DHCP, IP range") })
}

// hangGuard ends a test that waits in vain. It is no measure of speed.
const hangGuard = time.Minute

// Eventually waits until a condition holds, and fails the test where it never does.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(hangGuard); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
