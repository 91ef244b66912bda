package tftp

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	defaultMTU = 1500
	queueLen   = 16 // packets that wait for one transfer of a shared port
)

// A peer is the other end of one transfer. There are two: one behind a socket
// of the transfer's own, and one behind the port that all transfers share.
type peer interface {
	send(p []byte) error

	// recv waits for a packet of the peer's until then, and returns
	// os.ErrDeadlineExceeded at that time, or the context's cause.
	recv(p []byte, until time.Time) (int, error)

	close()
}

// owned is a peer with a socket of its own. It is not connected: the kernel
// would answer a stranger with ICMP where RFC 1350 section 4 wants ERROR 5.
type owned struct {
	ctx    context.Context
	conn   *net.UDPConn
	remote netip.AddrPort
	stop   func() bool
}

func newOwned(ctx context.Context, from netip.Addr, remote netip.AddrPort) (*owned, error) {
	conn, err := net.ListenUDP(network(remote.Addr()), udpAddr(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return nil, err
	}
	return &owned{ctx, conn, remote, interrupt(ctx, conn)}, nil
}

func (o *owned) send(p []byte) error {
	_, err := o.conn.WriteToUDPAddrPort(p, o.remote)
	return err
}

func (o *owned) recv(p []byte, until time.Time) (int, error) {
	for {
		n, from, err := readUntil(o.ctx, o.conn, p, until)
		if err != nil {
			return 0, err
		}
		if samePeer(from, o.remote) {
			return n, nil
		}
		turnAway(o.conn, p[:n], from)
	}
}

func (o *owned) close() {
	o.stop()
	o.conn.Close()
}

// shared is a peer behind the server's one port, which hands it its packets.
type shared struct {
	ctx  context.Context
	in   chan []byte
	emit func(p []byte) error
}

func (s *shared) send(p []byte) error { return s.emit(p) }

func (s *shared) recv(p []byte, until time.Time) (int, error) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case q := <-s.in:
		return copy(p, q), nil
	case <-t.C:
		return 0, os.ErrDeadlineExceeded
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
}

func (s *shared) close() {}

// interrupt ends a read on conn when ctx ends. Every later read looks at ctx.
func interrupt(ctx context.Context, conn *net.UDPConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
}

// readUntil reads one packet from anyone, on a conn that interrupt watches.
func readUntil(ctx context.Context, conn *net.UDPConn, p []byte, until time.Time) (int, netip.AddrPort, error) {
	conn.SetReadDeadline(until)
	// After the deadline was set: interrupt's may have been overwritten.
	if ctx.Err() != nil {
		return 0, netip.AddrPort{}, context.Cause(ctx)
	}
	n, from, err := conn.ReadFromUDPAddrPort(p)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return n, unmap(from), err
}

// turnAway answers a packet that belongs to no transfer of this socket, RFC
// 1350 section 4. An ERROR is never answered, so that no two ends can keep
// each other busy.
func turnAway(conn *net.UDPConn, p []byte, from netip.AddrPort) {
	if opcode(p) != opERROR && from.Port() != 0 {
		conn.WriteToUDPAddrPort(appendError(nil, errUnknownID), from)
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// samePeer compares without zones, which may be names or numbers: a socket
// bound to a link hears that link alone.
func samePeer(a, b netip.AddrPort) bool { return a.Port() == b.Port() && sameAddr(a.Addr(), b.Addr()) }

func sameAddr(a, b netip.Addr) bool { return a.WithZone("") == b.WithZone("") }

func network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// udpAddr is nil for an address that is not known.
func udpAddr(a netip.AddrPort) *net.UDPAddr {
	if !a.Addr().IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(a)
}

// mostBlksize is the largest block that crosses a path without fragments: its
// MTU less the headers of IP (20 or 40 bytes), UDP (8) and DATA (4).
func mostBlksize(mtu int, a netip.Addr) int {
	if a.Is4() {
		return max(mtu-32, minBlksize)
	}
	return max(mtu-52, minBlksize)
}
