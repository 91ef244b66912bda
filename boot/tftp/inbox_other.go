//go:build !linux

package tftp

import (
	"net"
	"net/netip"
	"time"
)

// An inbox is a client's socket and the datagram that came to it last.
type inbox struct {
	udp    *net.UDPConn
	peer   netip.AddrPort
	sender netip.AddrPort
	buf    []byte
	n      int
	wait   time.Duration
	woken  chan struct{}
}

func newInbox(conn *net.UDPConn, server netip.AddrPort, size int) (*inbox, error) {
	return &inbox{udp: conn, peer: server, buf: make([]byte, size), woken: make(chan struct{})}, nil
}

func (b *inbox) widen(n, size int) { b.udp.SetReadBuffer(min(max(n*size, inboxLen), queueMost)) }

func (b *inbox) patience(d time.Duration) { b.wait = d }

func (b *inbox) read() (int, error) {
	b.udp.SetReadDeadline(time.Now().Add(b.wait))
	// After the deadline was set: that of wake may have been overwritten.
	select {
	case <-b.woken:
		return 0, nil
	default:
	}
	n, from, err := b.udp.ReadFromUDPAddrPort(b.buf)
	if err != nil {
		return 0, err
	}
	b.n, b.sender = n, unmap(from)
	return 1, nil
}

func (b *inbox) wake() {
	close(b.woken)
	b.udp.SetReadDeadline(time.Unix(1, 0))
}

func (b *inbox) datagram(int) ([]byte, int) { return b.buf[:b.n], b.n }
func (b *inbox) from(int) netip.AddrPort    { return b.sender }
func (b *inbox) fromPeer(int) bool          { return samePeer(b.sender, b.peer) }
func (b *inbox) answer(int)                 { b.peer = b.sender }
func (b *inbox) send(p []byte)              { b.udp.WriteToUDPAddrPort(p, b.peer) }
func (b *inbox) reply(_ int, p []byte)      { b.udp.WriteToUDPAddrPort(p, b.sender) }
func (b *inbox) close()                     { b.udp.Close() }

func (b *inbox) conn() (net.PacketConn, error) { return b.udp, nil }
