//go:build linux

package udp

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// What is written in one batch comes in order, each datagram as it was, be it
// cut up by the kernel or in memory. The answer finds its way back.
func TestBatches(t *testing.T) {
	for name, open := range ends(t) {
		t.Run(name, func(t *testing.T) {
			a, b := take(t, open()), take(t, open())
			b.SetBuffers(4 << 20)
			out, in := NewWriter(a), NewReader(b, 8, 200)
			route := a.RouteTo(b.LocalAddr(), Local{})
			route.Segment(HeadLen + 100)
			const n = 50
			for i := range n {
				p := bytes.Repeat([]byte{byte(i)}, 100)
				out.Block(&route, head(i), p[:i], p[i:])
			}
			out.Packet(&route, []byte("end"))
			out.Flush()
			for got := 0; got <= n; {
				k, err := in.Read()
				if err != nil || k == 0 {
					t.Fatalf("%d datagrams, %v", k, err)
				}
				for i := range k {
					h := head(got)
					want := append(h[:], bytes.Repeat([]byte{byte(got)}, 100)...)
					if got == n {
						want = []byte("end")
					}
					if p := in.Datagram(i); !bytes.Equal(p, want) || in.From(i) != a.LocalAddr() {
						t.Fatalf("datagram %d: %s from %v", got, quote(p), in.From(i))
					}
					if _, ok := in.Local(i); !ok {
						t.Errorf("datagram %d was not for us", got)
					}
					got++
				}
			}
			if _, err := in.ReadNow(); err != unix.EAGAIN {
				t.Errorf("and then %v", err)
			}
			time.AfterFunc(10*time.Millisecond, b.Interrupt)
			if k, err := in.Read(); k != 0 || err != nil {
				t.Errorf("interrupted: %d, %v", k, err)
			}
		})
	}
}

func take(t *testing.T, conn PacketConn) *Socket {
	t.Helper()
	s, err := NewSocket(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A datagram that is longer than the reader's is nil.
func TestTruncated(t *testing.T) {
	for name, open := range ends(t) {
		t.Run(name, func(t *testing.T) {
			from, s := open(), take(t, open())
			in := NewReader(s, 4, 10)
			from.WriteToUDPAddrPort(make([]byte, 11), s.LocalAddr())
			from.WriteToUDPAddrPort(make([]byte, 10), s.LocalAddr())
			for _, want := range []int{0, 10} {
				if n, err := in.Read(); n == 2 && err == nil {
					if len(in.Datagram(0)) != 0 || len(in.Datagram(1)) != 10 {
						t.Errorf("got %d and %d bytes", len(in.Datagram(0)), len(in.Datagram(1)))
					}
					break
				} else if n != 1 || err != nil || len(in.Datagram(0)) != want {
					t.Errorf("%d datagrams, %v, of %d bytes, want %d", n, err, len(in.Datagram(0)), want)
				}
			}
		})
	}
}

// A closed port is reported, with its peer.
func TestRefused(t *testing.T) {
	for name, open := range ends(t) {
		t.Run(name, func(t *testing.T) {
			s, gone := take(t, open()), open()
			peer := gone.LocalAddr().(*net.UDPAddr).AddrPort()
			s.ReportRefused()
			gone.Close()
			out, in := NewWriter(s), NewReader(s, 4, 100)
			route := s.RouteTo(peer, Local{})
			out.Packet(&route, []byte("anybody?"))
			out.Flush()
			if n, err := in.Read(); n != 0 || err != unix.ECONNREFUSED {
				t.Errorf("read %d, %v", n, err)
			}
			var refused []netip.AddrPort
			found := s.Refused(func(p netip.AddrPort) { refused = append(refused, p) })
			if !found || len(refused) != 1 || refused[0] != peer {
				t.Errorf("found %v: %v, want %v", found, refused, peer)
			}
			if s.Refused(func(netip.AddrPort) {}) {
				t.Error("found once more")
			}
		})
	}
}

// In memory time passes only where a test says so: datagrams take their delay,
// reads their timeout, and lost ones never come.
func TestNetworkTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := []time.Duration{3 * time.Second}
		n := &Network{Path: func(_, _ netip.AddrPort, _ []byte) []time.Duration { return path }}
		a, b := n.Listen(netip.MustParseAddrPort("192.0.2.1:0")), n.Listen(netip.MustParseAddrPort("192.0.2.2:69"))
		start := time.Now()
		a.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("192.0.2.2:69"))
		buf := make([]byte, 10)
		if n, from, err := b.ReadFromUDPAddrPort(buf); n != 1 || err != nil || from.Port() == 69 || time.Since(start) != 3*time.Second {
			t.Errorf("%d bytes from %v, %v, after %v", n, from, err, time.Since(start))
		}
		path = nil
		a.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("192.0.2.2:69"))
		b.SetReadDeadline(start.Add(10 * time.Second))
		if _, _, err := b.ReadFromUDPAddrPort(buf); err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("a lost datagram: %v, after %v", err, time.Since(start))
		}
		b.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { b.Close() })
		if _, _, err := b.ReadFromUDPAddrPort(buf); err != net.ErrClosed {
			t.Errorf("closed: %v", err)
		}
	})
}
