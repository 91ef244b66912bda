package wire

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/nettest"
)

// onNetlink runs a test on a Netlink of a namespace. eth0 there is one end of a
// virtual cable.
func onNetlink(t *testing.T, test func(t *testing.T, n *Netlink, eth0 *net.Interface)) {
	ns, _ := nettest.Pair(t, "192.0.2.1/24", "")
	ns.Do(t, func() {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		n, err := OpenNetlink()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		test(t, n, eth0)
	})
}

// The kernel is asked for the same in two ways.
func TestInterfaces(t *testing.T) {
	onNetlink(t, func(t *testing.T, n *Netlink, eth0 *net.Interface) {
		all, err := n.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		want, err := net.Interfaces()
		if err != nil || len(all) != len(want) {
			t.Errorf("%d interfaces, want %d, %v", len(all), len(want), err)
		}
		got, err := n.InterfaceByName("eth0")
		if err != nil || got.Index != eth0.Index || got.Name != "eth0" || !slices.Equal(got.MAC, eth0.HardwareAddr) {
			t.Errorf("eth0 is %+v, %v; want %+v", got, err, eth0)
		}
		if got.Kind != "veth" || got.Type != unix.ARPHRD_ETHER {
			t.Errorf("eth0 is a %q of type %d", got.Kind, got.Type)
		}
		if lo, err := n.InterfaceByName("lo"); err != nil || lo.Kind != "" || lo.Type != unix.ARPHRD_LOOPBACK {
			t.Errorf("lo is %+v, %v", lo, err)
		}
		if _, err := n.InterfaceByName("eth7"); !errors.Is(err, unix.ENODEV) {
			t.Errorf("eth7: %v", err)
		}
	})
}

func TestSwitchOn(t *testing.T) {
	onNetlink(t, func(t *testing.T, n *Netlink, eth0 *net.Interface) {
		// The test's thread is in the namespace already.
		if out, err := exec.Command(nettest.Need(t, "ip"), "link", "set", "eth0", "down").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := n.InterfaceByName("eth0"); err != nil || got.Flags&unix.IFF_UP != 0 {
			t.Fatalf("switched off it is %+v, %v", got, err)
		}
		if err := n.SwitchOn(eth0.Index); err != nil {
			t.Error(err)
		}
		if got, err := n.InterfaceByName("eth0"); err != nil || got.Flags&unix.IFF_UP == 0 {
			t.Errorf("switched on it is %+v, %v", got, err)
		}
	})
}

func TestAddrs(t *testing.T) {
	onNetlink(t, func(t *testing.T, n *Netlink, eth0 *net.Interface) {
		has := func(p netip.Prefix) bool {
			addrs, err := n.Addrs(eth0.Index)
			if err != nil {
				t.Fatal(err)
			}
			return slices.Contains(addrs, p)
		}
		for _, cidr := range []string{"192.0.2.7/24", "192.0.2.9/25", "192.0.2.66/31", "192.0.2.77/32", "2001:db8::7/64"} {
			p := netip.MustParsePrefix(cidr)
			for range 2 {
				if err := n.SetAddr(eth0.Index, p); err != nil || !has(p) {
					t.Errorf("after SetAddr(%s), %v: it has it: %v", p, err, has(p))
				}
			}
			if err := n.RemoveAddr(eth0.Index, p); err != nil || has(p) {
				t.Errorf("after RemoveAddr(%s), %v: it has it: %v", p, err, has(p))
			}
			if err := n.RemoveAddr(eth0.Index, p); !errors.Is(err, unix.EADDRNOTAVAIL) {
				t.Errorf("RemoveAddr(%s) of none: %v", p, err)
			}
		}
	})
}
