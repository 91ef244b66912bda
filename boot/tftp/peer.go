package tftp

import (
	"context"
	"net"
	"net/netip"
	"time"
)

const (
	defaultMTU  = 1500
	uploadQueue = 16 // packets that wait for one upload
)

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
