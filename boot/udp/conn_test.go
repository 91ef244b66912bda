//go:build linux

package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// A kernel that merges nothing hands over datagrams one by one, several a call.
// One that is too long is not taken for one that is not.
func TestConnBatches(t *testing.T) {
	const size = 12
	server, conn := listen(t), listen(t)
	client := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	c, err := Connect(conn, server.LocalAddr().(*net.UDPAddr).AddrPort(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.batches(64, size)
	c.SetTimeout(30 * time.Second)
	want := [][]byte{[]byte("abcdefghijkl"), []byte("abcdefghijk"), []byte("abcd"), []byte("abcdefghijklm"), bytes.Repeat([]byte("x"), 500)}
	for _, p := range want {
		if _, err := server.WriteToUDPAddrPort(p, client); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < len(want); {
		n, err := c.Read()
		if err != nil || n == 0 {
			t.Fatalf("%d datagrams, %v", n, err)
		}
		for i := range n {
			p, merged := c.Datagram(i)
			if merged != len(p) || !bytes.Equal(p, want[got][:min(len(want[got]), size+1)]) {
				t.Errorf("datagram %d: %s, of %d", got, quote(p), merged)
			}
			got++
		}
	}
	c.Send([]byte("thanks"))
	buf := make([]byte, 10)
	server.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, from, err := server.ReadFromUDPAddrPort(buf); string(buf[:n]) != "thanks" || from != client || err != nil {
		t.Errorf("got %q from %v, %v", buf[:n], from, err)
	}
	c.SetTimeout(20 * time.Millisecond)
	if n, err := c.Read(); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence: %d, %v", n, err)
	}
	c.SetTimeout(time.Minute)
	time.AfterFunc(20*time.Millisecond, c.Interrupt)
	if n, err := c.Read(); n != 0 || err != nil {
		t.Errorf("interrupted: %d, %v", n, err)
	}
}

// Of two sockets on one port the connected one hears its peer alone.
func TestConnHearsPeer(t *testing.T) {
	for name, open := range ends(t) {
		t.Run(name, func(t *testing.T) {
			peer, stranger, conn := open(), open(), open()
			at := func(c PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
			c, err := Connect(conn, at(peer), 100)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			stranger.WriteToUDPAddrPort([]byte("stranger"), at(conn))
			peer.WriteToUDPAddrPort([]byte("peer"), at(conn))
			c.SetTimeout(30 * time.Second)
			n, err := c.Read()
			if p, _ := c.Datagram(0); n != 1 || err != nil || string(p) != "peer" {
				t.Errorf("connected: %d, %v: %q", n, err, p)
			}
			buf := make([]byte, 100)
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			if n, from, err := conn.ReadFromUDPAddrPort(buf); string(buf[:n]) != "stranger" || from != at(stranger) || err != nil {
				t.Errorf("other: %q from %v, %v", buf[:n], from, err)
			}
		})
	}
}

// ends open sockets of the kernel's, and those of a network.
func ends(t *testing.T) map[string]func() PacketConn {
	n := new(Network)
	return map[string]func() PacketConn{
		"kernel": func() PacketConn { return listen(t) },
		"memory": func() PacketConn { return n.Listen(netip.MustParseAddrPort("192.0.2.1:0")) },
	}
}
