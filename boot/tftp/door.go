package tftp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// A door is the socket that a client's request left from, once a server has
// answered from one port. It turns others away, and when the transfer is over
// repeats the last ACK for a server that missed it (RFC 1350 sections 4 and 6).
type door struct {
	conn *net.UDPConn
	peer netip.AddrPort
	last atomic.Int32 // the last block; -1 while the transfer goes on
}

func newDoor(conn *net.UDPConn, peer netip.AddrPort) *door {
	d := &door{conn: conn, peer: peer}
	d.last.Store(-1)
	return d
}

// keep ends when the socket is closed, or at its deadline.
func (d *door) keep() {
	defer d.conn.Close()
	buf := make([]byte, maxRequest)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		// Any other error is of a packet that was sent, or came and was cut off.
		from = unmap(from)
		switch block, _, ok := parseBlock(buf[:n]); {
		case !ok && err != nil:
		case !samePeer(from, d.peer):
			turnAway(d.conn, buf[:n], from)
		case ok && opcode(buf) == opDATA && int32(block) == d.last.Load():
			d.conn.WriteToUDPAddrPort(appendACK(nil, block), from)
		}
	}
}

func (d *door) dally(last uint16, t time.Duration) {
	d.last.Store(int32(last))
	d.conn.SetReadDeadline(time.Now().Add(t))
}
