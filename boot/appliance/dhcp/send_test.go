package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// An outbox is an in-memory end of a server: when each answer left.
type outbox struct {
	start time.Time
	fails bool

	mu    sync.Mutex
	sent  []time.Duration
	notes []string
}

// newOutbox makes a ProxyDHCP without sockets that sends to it.
func newOutbox(t *testing.T) (*outbox, *Server) {
	t.Helper()
	box := &outbox{start: time.Now()}
	s := &Server{
		Mode: Proxy, Interface: "eth0", Log: slog.New(slog.DiscardHandler), us: us,
		Decide: func(_ context.Context, r boot.Request) (boot.BootInfo, error) { return firstFile(r) },
	}
	s.sender = newSender(func(ev boot.Event) {
		box.mu.Lock()
		defer box.mu.Unlock()
		box.notes = append(box.notes, ev.Text)
	}, s.Log)
	s.sender.transmit = func(answer) error {
		box.mu.Lock()
		defer box.mu.Unlock()
		if box.fails {
			return errors.New("no buffer space")
		}
		box.sent = append(box.sent, time.Since(box.start))
		return nil
	}
	return box, s
}

// after waits until a time of the test, and returns when answers left till then.
func (b *outbox) after(d time.Duration) []time.Duration {
	time.Sleep(d - time.Since(b.start))
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sent)
}

// A Pi 3 stops at an answer that comes too fast. Others are not held up by it.
func TestDelay(t *testing.T) {
	pi, ipxe := nettest.ReadPacket(t, "testdata/rpi3-proxy-discover-67.hex").Raw, nettest.ReadPacket(t, "testdata/ipxe-proxy-discover-67.hex").Raw
	synctest.Test(t, func(t *testing.T) {
		box, s := newOutbox(t)
		s.handle(t.Context(), pi, nobody, portServer)
		if got := box.after(900 * time.Millisecond); len(got) != 0 {
			t.Fatalf("answered after %v", got)
		}
		s.handle(t.Context(), ipxe, nobody, portServer)
		if got, want := box.after(2*time.Second), []time.Duration{900 * time.Millisecond, time.Second}; !slices.Equal(got, want) {
			t.Errorf("answered after %v, want %v", got, want)
		}
	})
}

// More answers than may wait are sent at once.
func TestDelayIsBounded(t *testing.T) {
	pi := nettest.ReadPacket(t, "testdata/rpi3-proxy-discover-67.hex").Raw
	synctest.Test(t, func(t *testing.T) {
		box, s := newOutbox(t)
		for range maxDelayed + 3 {
			s.handle(t.Context(), pi, nobody, portServer)
		}
		if got := box.after(0); len(got) != 3 {
			t.Errorf("%d are sent at once", len(got))
		}
		if got := box.after(time.Second); len(got) != maxDelayed+3 {
			t.Errorf("%d are sent", len(got))
		}
	})
}

// A server that ends sends nothing that still waits.
func TestDelayEnds(t *testing.T) {
	pi := nettest.ReadPacket(t, "testdata/rpi3-proxy-discover-67.hex").Raw
	synctest.Test(t, func(t *testing.T) {
		box, s := newOutbox(t)
		ctx, cancel := context.WithCancel(t.Context())
		s.handle(ctx, pi, nobody, portServer)
		cancel()
		s.sender.waiting.Wait()
		if got := box.after(2 * time.Second); len(got) != 0 || time.Since(box.start) != 2*time.Second {
			t.Errorf("answered after %v", got)
		}
	})
}

// What could not be sent is told in the journal.
func TestSendFails(t *testing.T) {
	box, s := newOutbox(t)
	box.fails = true
	s.handle(t.Context(), nettest.ReadPacket(t, "testdata/ipxe-proxy-discover-67.hex").Raw, nobody, portServer)
	want := "DISCOVER from ipxe (arch 0) on eth0: told boot.ipxe, but the answer could not be sent"
	if !slices.Equal(box.notes, []string{want}) {
		t.Errorf("noted %q, want %q", box.notes, want)
	}
}
