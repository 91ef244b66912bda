package tftp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox is a client's socket and what came to it last: one datagram a call,
// by the cheapest of them, until it is widened.
type inbox struct {
	*socket
	peer route // where packets go
	wait time.Duration

	one     []byte
	n       int // of one that came
	name    unix.RawSockaddrInet6
	namelen uint32

	many *reader // once widened
}

// newInbox takes conn over, to talk to a server at first. It holds datagrams of
// up to size bytes.
func newInbox(conn *net.UDPConn, server netip.AddrPort, size int) (*inbox, error) {
	index, err := zoneIndex(server.Addr().Zone())
	if err != nil {
		conn.Close()
		return nil, err
	}
	s, err := newSocket(conn)
	if err != nil {
		return nil, err
	}
	return &inbox{socket: s, peer: s.routeTo(server, local{ifindex: index}), one: make([]byte, size)}, nil
}

// widen makes room for windows of n datagrams of up to size bytes. Where the
// kernel can hand over many datagrams of one sender as one (UDP_GRO, Linux 5.0)
// it does: those that left by UDP_SEGMENT cross the machine, or a veth pair, in
// one piece.
func (b *inbox) widen(n, size int) {
	b.roomy(min(max(n*size, inboxLen), queueMost))
	if unix.SetsockoptInt(b.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil {
		b.many = newReader(b.socket, inboxLen/mergedLen, mergedLen)
		return
	}
	size++ // to know one that is too long
	b.many = newReader(b.socket, min(max(inboxLen/size, 1), n, batch), size)
}

// patience is how long a read waits. It may be a quarter longer, so that a wait
// that hardly changes costs no system call.
func (b *inbox) patience(d time.Duration) {
	d = max(d, time.Millisecond)
	if d <= b.wait && b.wait <= d+d/4 {
		return
	}
	b.wait = d + d/8
	tv := unix.NsecToTimeval(int64(b.wait))
	unix.SetsockoptTimeval(b.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
}

// read waits for datagrams and returns how many there are; none: the socket was
// woken. After the time it returns os.ErrDeadlineExceeded.
func (b *inbox) read() (int, error) {
	var errno error
	if b.many != nil {
		var n int
		if n, errno = b.many.read(0); errno == nil {
			return n, nil
		}
	} else {
		b.namelen = unix.SizeofSockaddrInet6
		n, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(b.fd), uintptr(unsafe.Pointer(&b.one[0])), uintptr(len(b.one)),
			unix.MSG_TRUNC, uintptr(unsafe.Pointer(&b.name)), uintptr(unsafe.Pointer(&b.namelen)))
		switch {
		case e == 0 && b.namelen == 0:
			return 0, nil // of no sender: what shutdown lets through
		case e == 0:
			b.n = int(n)
			return 1, nil
		}
		errno = e
	}
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, os.ErrDeadlineExceeded
	}
	return 0, errno
}

// datagram returns one of those that were read, and the size of those that it
// was made of: all but the last are that long. It is good until the next read.
// One that was cut off is longer than the room for it.
func (b *inbox) datagram(i int) (p []byte, size int) {
	if b.many == nil {
		return b.one[:min(b.n, len(b.one))], b.n
	}
	size = len(b.many.buf) / len(b.many.msgs)
	p = b.many.buf[i*size:][:b.many.msgs[i].n]
	if n := segmentSize(b.many.control(i)); n > 0 {
		return p, n
	}
	return p, len(p)
}

// segmentSize reads the control message of UDP_GRO; 0: there is none.
func segmentSize(oob []byte) int {
	if len(oob) < unix.CmsgLen(4) {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(oob[unix.CmsgLen(0):]))
}

func (b *inbox) sender(i int) *unix.RawSockaddrInet6 {
	if b.many == nil {
		return &b.name
	}
	return &b.many.names[i]
}

// from is who sent a datagram.
func (b *inbox) from(i int) netip.AddrPort { return addrPort(b.sender(i)) }

// fromPeer reports whether it was the peer.
func (b *inbox) fromPeer(i int) bool {
	sa, peer := b.sender(i), &b.peer.name
	if sa.Family != peer.Family || sa.Port != peer.Port {
		return false
	}
	if sa.Family == unix.AF_INET {
		return sa.Flowinfo == peer.Flowinfo // where Inet4 has its address
	}
	return sa.Addr == peer.Addr
}

// answer makes the sender of a datagram the peer.
func (b *inbox) answer(i int) { b.peer.name = *b.sender(i) }

// send sends to the peer. What cannot be sent is a packet lost: the link may
// come back.
func (b *inbox) send(p []byte) { b.sendto(p, &b.peer.name) }

// reply sends to the sender of a datagram.
func (b *inbox) reply(i int, p []byte) { b.sendto(p, b.sender(i)) }

func (b *inbox) sendto(p []byte, to *unix.RawSockaddrInet6) {
	unix.Syscall6(unix.SYS_SENDTO, uintptr(b.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0,
		uintptr(unsafe.Pointer(to)), uintptr(b.peer.namelen))
}

// conn gives the socket back to Go's poller; the inbox is closed.
func (b *inbox) conn() (net.PacketConn, error) {
	f := os.NewFile(uintptr(b.fd), "tftp")
	defer f.Close()
	return net.FilePacketConn(f)
}
