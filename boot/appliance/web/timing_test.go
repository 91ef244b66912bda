package web

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/nettest"
)

// The arithmetic of Timing's comments.
func TestTiming(t *testing.T) {
	d := DefaultTiming
	if d.Stop > 1500*time.Millisecond {
		t.Error("Serve promises to end within two seconds")
	}
	if d.Beat >= 30*time.Second || d.Beat >= d.Stall {
		t.Error("an event stream must speak before a proxy or its own deadline ends it")
	}
	if rate := float64(chunk) / d.Stall.Seconds(); rate > 20e3 {
		t.Errorf("a client must take %.0f B/s, more than a slow link carries", rate)
	}
	if rate := boot.MaxReport / d.Request.Seconds(); rate > 8e3 {
		t.Errorf("a report must come at %.0f B/s, more than 64 kbit/s", rate)
	}
}

// timed runs f in a bubble, with a server that it can dial.
func timed(t *testing.T, f func(t *testing.T, dial func() net.Conn, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		m := nettest.NewMemory()
		s := &Server{Journal: journal.New(slog.New(slog.DiscardHandler), 1000)}
		s.setDefaults()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.serve(ctx, m, false) }()
		stop := func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			ended <- nil
		}
		defer stop()
		f(t, func() net.Conn {
			c, err := m.Dial(ctx, netip.MustParseAddrPort("192.0.2.9:1024"))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}, stop)
	})
}

// ask sends a request and reads the header of its answer.
func ask(t *testing.T, c net.Conn, request string) *http.Response {
	t.Helper()
	io.WriteString(c, request+" HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A client that is slow with its request is cut off, one that is done with it
// may be idle.
func TestSlowClientsAreCutOff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first func(t *testing.T, c net.Conn)
		after time.Duration
	}{
		{"says nothing", func(*testing.T, net.Conn) {}, DefaultTiming.Header},
		{"half a header", func(_ *testing.T, c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost") }, DefaultTiming.Header},
		{"half a report", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /api/machines/52:54:00:12:34:56/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
		}, DefaultTiming.Request},
		{"idle after an answer", func(t *testing.T, c net.Conn) {
			io.Copy(io.Discard, ask(t, c, "GET /healthz").Body)
		}, DefaultTiming.Idle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timed(t, func(t *testing.T, dial func() net.Conn, _ func()) {
				c := dial()
				defer c.Close()
				tt.first(t, c)
				began := time.Now()
				io.Copy(io.Discard, c)
				if took := time.Since(began); took != tt.after {
					t.Errorf("cut off after %v, want %v", took, tt.after)
				}
			})
		})
	}
}

// A quiet stream says every Beat that it lives, and outlasts Stall and Request
// by far. A client that takes nothing of it any more is cut off.
func TestEventStreamLives(t *testing.T) {
	timed(t, func(t *testing.T, dial func() net.Conn, _ func()) {
		c := dial()
		defer c.Close()
		began := time.Now()
		lines := bufio.NewScanner(ask(t, c, "GET /api/events").Body)
		for beat := range 100 {
			for lines.Scan() && lines.Text() != ":" {
			}
			if took := time.Since(began); took != time.Duration(beat+1)*DefaultTiming.Beat || lines.Err() != nil {
				t.Fatalf("beat %d comes after %v: %v", beat+1, took, lines.Err())
			}
		}
		time.Sleep(DefaultTiming.Beat + DefaultTiming.Stall + 1)
		woke := time.Now()
		for lines.Scan() {
			if time.Since(woke) > 0 {
				t.Fatal("a client that took nothing for longer than Stall is served on")
			}
		}
	})
}

// An answer that nobody takes keeps the server from its end for Stop at most.
func TestStopIsBounded(t *testing.T) {
	timed(t, func(t *testing.T, dial func() net.Conn, stop func()) {
		c := dial()
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		began := time.Now()
		stop()
		if took := time.Since(began); took != DefaultTiming.Stop {
			t.Errorf("ended after %v", took)
		}
	})
}
