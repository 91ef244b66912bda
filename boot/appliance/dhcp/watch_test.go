package dhcp

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// An interface goes down, or loses its address. What comes back is served, and
// nobody is pointed at an address that is not there.
func TestInterfaceComesAndGoes(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	s := serve(t, a, Full, leases)
	works := func(when string) {
		t.Helper()
		if got := udhcpc(t, b); !strings.HasPrefix(got, "10.77.0.10") {
			t.Errorf("%s: %q", when, got)
		}
	}
	a.IP(t, "link", "set", "eth0", "down")
	time.Sleep(10 * s.Timing.Look) // it looks at it meanwhile
	a.IP(t, "link", "set", "eth0", "up")
	works("after it was down")

	a.IP(t, "addr", "del", ours+"/24", "dev", "eth0")
	nettest.Eventually(t, "the address to be missed", s.watch.Away)
	w := newTap(t, b, portClient)
	w.broadcast(t, made[0].raw)
	if got := w.collect(t, time.Second); len(got) > 0 {
		t.Errorf("without its address it answers %v", got)
	}
	a.IP(t, "addr", "add", ours+"/24", "dev", "eth0")
	nettest.Eventually(t, "the address to be found", func() bool { return !s.watch.Away() })
	works("with its address again")
}
