package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// opened is a Conn on eth0 of a namespace.
func opened(t *testing.T, ns *nettest.NS, etherType uint16) *Conn {
	t.Helper()
	var c *Conn
	var err error
	ns.Do(t, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			c, err = Open(ifi, etherType)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What a filter lets through. Each frame is followed by one that passes, so that
// nobody has to wait for what does not come.
func TestFilters(t *testing.T) {
	last := []byte("last")
	udp := func(port uint16, change ...func(ip []byte)) []byte {
		frame := UDP4(src, Broadcast, from, netip.AddrPortFrom(to.Addr(), port), []byte("hello"))
		for _, f := range change {
			f(frame[14:])
		}
		return frame
	}
	icmp := func(kind byte) []byte {
		return ICMP6(src, Broadcast, LinkLocal(src), AllNodes, append([]byte{kind}, make([]byte, 15)...))
	}
	a, b := nettest.Pair(t, "", "")
	for _, tt := range []struct {
		name      string
		etherType uint16
		end       []byte
		frame     []byte
		passes    bool
	}{
		{"the port", IPv4, UDP4(src, Broadcast, from, to, last), udp(68), true},
		{"another port", IPv4, UDP4(src, Broadcast, from, to, last), udp(67), false},
		{"TCP", IPv4, UDP4(src, Broadcast, from, to, last), udp(68, func(ip []byte) { ip[9] = 6 }), false},
		{"a later fragment", IPv4, UDP4(src, Broadcast, from, to, last), udp(68, func(ip []byte) { ip[7] = 9 }), false},
		{"a solicitation", IPv6, icmp(RouterAdvertisement), icmp(RouterSolicitation), true},
		{"a neighbour's", IPv6, icmp(RouterAdvertisement), icmp(135), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, in := opened(t, a, Nothing), opened(t, b, tt.etherType)
			filter := Routers()
			if tt.etherType == IPv4 {
				filter = UDPPort(68)
			}
			if err := in.Filter(filter); err != nil {
				t.Fatal(err)
			}
			for _, frame := range [][]byte{tt.frame, tt.end} {
				if err := out.Send(frame); err != nil {
					t.Fatal(err)
				}
			}
			in.SetReadDeadline(time.Now().Add(time.Minute))
			passed := false
			for buf := make([]byte, MaxMessage); ; {
				n, err := in.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Equal(buf[:n], tt.end) {
					break
				}
				passed = passed || bytes.Equal(buf[:n], tt.frame)
			}
			if passed != tt.passes {
				t.Errorf("it passes: %t", passed)
			}
		})
	}
}

// An IP header with options is skipped, as long as it is.
func TestParseWithOptions(t *testing.T) {
	frame := UDP4(src, dst, from, to, []byte("hello"))
	with := slices.Insert(slices.Clone(frame), 34, 1, 1, 1, 1) // four no-operations
	with[14]++
	binary.BigEndian.PutUint16(with[16:], binary.BigEndian.Uint16(with[16:])+4)
	if payload, sender, err := ParseUDP4(with, 68); err != nil || string(payload) != "hello" || sender != from {
		t.Errorf("%q from %v, %v", payload, sender, err)
	}
}

// A Conn that is closed ends a Read that waits, and sends nothing more.
func TestClose(t *testing.T) {
	a, _ := nettest.Pair(t, "", "")
	c := opened(t, a, IPv4)
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 100))
		done <- err
	}()
	c.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := c.Send(UDP4(src, dst, from, to, nil)); err == nil {
		t.Error("it still sends")
	}
}

// Packets are handled in order, until the context ends and the port is closed.
func TestReceive(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, done := make(chan string, 2), make(chan error, 1)
	go func() {
		done <- Receive(ctx, conn, time.Millisecond, func(err error) { t.Error(err) }, func(packet []byte, from netip.AddrPort) {
			if from.String() != client.LocalAddr().String() {
				t.Errorf("a packet from %s", from)
			}
			got <- string(packet)
		})
	}()
	for _, text := range []string{"one", "two"} {
		if _, err := client.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != text {
			t.Errorf("got %q, want %q", s, text)
		}
	}
	cancel()
	conn.Close()
	if err := <-done; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// A port that somebody else closed is an error. A read that fails is told, and
// reading goes on.
func TestReceiveErrors(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Unix(1, 0)) // each read fails
	failures := 0
	err = Receive(t.Context(), conn, time.Millisecond, func(err error) {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if failures++; failures == 3 {
			conn.Close()
		}
	}, func([]byte, netip.AddrPort) { t.Error("a packet came") })
	if !errors.Is(err, net.ErrClosed) || failures != 3 {
		t.Errorf("%v after %d failures", err, failures)
	}
}
