package tftp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A requestSocket is the socket that a client's request left from, once a
// server has answered from one port. It turns others away. When the transfer is
// over it repeats the last ACK for a server that missed it (RFC 1350 sections 4
// and 6).
type requestSocket struct {
	conn udp.PacketConn
	peer netip.AddrPort
	last atomic.Int32 // the last block; -1 while the transfer goes on
}

func newRequestSocket(conn udp.PacketConn, peer netip.AddrPort) *requestSocket {
	s := &requestSocket{conn: conn, peer: peer}
	s.last.Store(-1)
	return s
}

// answer ends when the socket is closed, or at its deadline.
func (s *requestSocket) answer() {
	defer s.conn.Close()
	buf := make([]byte, maxRequest)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		// Any other error is of a packet that was sent, or came and was cut off.
		from = unmap(from)
		switch block, _, ok := parseBlock(buf[:n]); {
		case !ok && err != nil:
		case !samePeer(from, s.peer):
			turnAway(s.conn, buf[:n], from)
		case ok && opcode(buf) == opDATA && int32(block) == s.last.Load():
			s.conn.WriteToUDPAddrPort(appendACK(nil, block), from)
		}
	}
}

// dally lets the socket answer for a while, and then close.
func (s *requestSocket) dally(last uint16, d time.Duration) {
	s.last.Store(int32(last))
	s.conn.SetReadDeadline(time.Now().Add(d))
}

// turnAway answers a packet that belongs to no transfer of this socket, RFC
// 1350 section 4. An ERROR is never answered, so that no two ends keep each
// other busy.
func turnAway(conn udp.PacketConn, p []byte, from netip.AddrPort) {
	if opcode(p) != opERROR && from.Port() != 0 {
		conn.WriteToUDPAddrPort(appendError(nil, errUnknownID), from)
	}
}

// interruptRead ends a read on conn when ctx ends. Every later read looks at
// ctx.
func interruptRead(ctx context.Context, conn udp.PacketConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
}

// readUntil reads one packet from anyone, on a conn that interruptRead watches.
func readUntil(ctx context.Context, conn udp.PacketConn, p []byte, until time.Time) (int, netip.AddrPort, error) {
	conn.SetReadDeadline(until)
	// After the deadline was set: interruptRead's may have been overwritten.
	if ctx.Err() != nil {
		return 0, netip.AddrPort{}, context.Cause(ctx)
	}
	n, from, err := conn.ReadFromUDPAddrPort(p)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return n, unmap(from), err
}
