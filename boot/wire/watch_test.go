package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// A server is opened anew after its interface was replaced, however long that
// takes. After another error it is not.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, served, failures := time.Now(), 0, 0
		other := errors.New("another")
		err := Keep(t.Context(), 2*time.Second, func(context.Context) error {
			if served++; served == 1 {
				return ErrReplaced
			}
			return other
		}, func() error {
			if time.Since(start) < 10*time.Second {
				return errors.New("no such interface")
			}
			return nil
		}, func(error) { failures++ })
		if !errors.Is(err, other) || served != 2 || failures != 5 || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v; served %d times, %d times the interface was away", err, time.Since(start), served, failures)
		}
	})
}

func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := Keep(ctx, 2*time.Second, func(context.Context) error { return ErrReplaced },
			func() error { return errors.New("no such interface") }, func(error) {})
		if err != nil || ctx.Err() == nil {
			t.Errorf("%v, context %v", err, ctx.Err())
		}
	})
}

// watched begins to watch eth0 of a namespace.
func watched(t *testing.T, ns *nettest.NS, addr netip.Addr) *Watch {
	t.Helper()
	var w *Watch
	var err error
	ns.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			w, err = NewWatch("test", ifi, addr, slog.New(slog.NewTextHandler(t.Output(), nil)))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// An interface loses its address and has it again; then it is another one.
func TestWatch(t *testing.T) {
	for _, tt := range []struct{ name, addr string }{{"IPv4", "10.77.0.1/24"}, {"IPv6", "fd00:77::1/64"}} {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := nettest.Pair(t, tt.addr, "")
			w := watched(t, a, a.Addr)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx, time.Millisecond) }()

			a.IP(t, "addr", "del", tt.addr, "dev", "eth0")
			nettest.Eventually(t, "the address to be missed", w.Away)
			a.IP(t, "addr", "add", tt.addr, "dev", "eth0")
			nettest.Eventually(t, "the address to be found", func() bool { return !w.Away() })
			a.IP(t, "link", "del", "eth0")
			nettest.Eventually(t, "the interface to be missed", w.Away)
			a.IP(t, "link", "add", "eth0", "type", "bridge")
			a.IP(t, "addr", "add", tt.addr, "dev", "eth0")
			if err := <-done; !errors.Is(err, ErrReplaced) {
				t.Errorf("of another interface it says %v", err)
			}
		})
	}
}

// A port is one server's, also beside one that would share it.
func TestListenBusy(t *testing.T) {
	a, _ := nettest.Pair(t, "10.77.0.1/24", "")
	a.Do(t, func() {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		first, err := Listen(ifi, "udp6", 547, netip.MustParseAddr("ff02::1:2"))
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		_, err = Listen(ifi, "udp6", 547)
		if err == nil || !strings.Contains(err.Error(), "port 547 on eth0 is taken") || !strings.Contains(err.Error(), "--dhcp off") {
			t.Errorf("a second server: %v", err)
		}
	})
}

func TestTiming(t *testing.T) {
	const retry = 4 * time.Second // a client's first
	if d := DefaultTiming.Look; d > retry/2 {
		t.Errorf("an interface that is back is found after %v, later than a client's first retry", d)
	}
	if d := DefaultTiming.Pause; d > retry/10 {
		t.Errorf("a pause of %v holds up a client's first retry", d)
	}
	if got := (Timing{Look: time.Minute}).OrDefault(); got != (Timing{DefaultTiming.Pause, time.Minute}) {
		t.Errorf("fields that are 0 are not the default's: %+v", got)
	}
}
