package dhcp

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// An interface goes down, or loses its address: what comes back is served, and
// nobody is pointed at an address that is not there.
func TestInterfaceComesAndGoes(t *testing.T) {
	a, b := nettest.Pair(t, ours+"/24", "")
	leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
	serve(t, a, Full, leases)
	works := func(when string) {
		t.Helper()
		time.Sleep(DefaultTiming.Look * 3 / 2)
		if got := udhcpc(t, b); !strings.HasPrefix(got, "10.77.0.10") {
			t.Errorf("%s: %q", when, got)
		}
	}
	a.IP(t, "link", "set", "eth0", "down")
	time.Sleep(DefaultTiming.Look * 3 / 2)
	a.IP(t, "link", "set", "eth0", "up")
	works("after it was down")

	a.IP(t, "addr", "del", ours+"/24", "dev", "eth0")
	time.Sleep(DefaultTiming.Look * 3 / 2)
	w := newTap(t, b, portClient)
	w.broadcast(t, made[0].raw)
	if got := w.collect(t, time.Second); len(got) > 0 {
		t.Errorf("without its address it answers %v", got)
	}
	a.IP(t, "addr", "add", ours+"/24", "dev", "eth0")
	works("with its address again")
}
