package nettest

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Hosts of a LAN reach each other, and have the addresses that they were given.
func TestLAN(t *testing.T) {
	hosts := LAN(t, "10.1.0.1/24", "10.1.0.2/24", "")
	if hosts[1].Addr != netip.MustParseAddr("10.1.0.2") || hosts[2].Addr.IsValid() {
		t.Errorf("addresses %v and %v", hosts[1].Addr, hosts[2].Addr)
	}
	if hosts[0].MAC(t) == hosts[1].MAC(t) {
		t.Error("two hosts have one MAC")
	}
	hosts[2].IP(t, "addr", "add", "10.1.0.3/24", "dev", "eth0")
	var l net.Listener
	hosts[0].Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", "10.1.0.1:9"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	for _, host := range hosts[1:] {
		host.Do(t, func() {
			c, err := net.Dial("tcp", "10.1.0.1:9")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
	if addr := hosts[0].LinkLocal(t); !addr.IsLinkLocalUnicast() {
		t.Errorf("link-local address %s", addr)
	}
	hosts[0].Sysctl(t, "net.ipv6.conf.eth0.disable_ipv6", "1")
	out, err := hosts[0].Command(t, Need(t, "ip"), "-6", "addr", "show", "dev", "eth0").CombinedOutput()
	if err != nil || strings.Contains(string(out), "fe80") {
		t.Errorf("IPv6 is not switched off: %v, %s", err, out)
	}
}

// What a program says can be read while it runs.
func TestStart(t *testing.T) {
	a, _ := Pair(t, "", "")
	said := a.Start(t, "sh", "-c", "echo hello; exec sleep 600")
	Eventually(t, "its words", func() bool { return said() == "hello\n" })
}

func TestPacket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "packet.hex")
	p := Packet{Raw: []byte(strings.Repeat("any bytes | and more\n", 5)), From: netip.MustParseAddrPort("10.0.0.1:68"), Port: 67}
	if err := os.WriteFile(path, []byte(p.Format("made here")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ReadPacket(t, path); string(got.Raw) != string(p.Raw) || got.From != p.From || got.Port != p.Port {
		t.Errorf("read %+v, wrote %+v", got, p)
	}
}
