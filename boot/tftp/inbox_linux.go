package tftp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox is the socket of one download and what came to it last: one datagram
// a call, by the cheapest of calls, until it is widened. It is connected to the
// server's end, which spares the kernel a look at its routes for each packet.
// Strangers meet the socket that the request left from, on the same port.
type inbox struct {
	*socket
	wait time.Duration

	one  []byte
	n    int     // of one that came
	many *reader // once widened
}

// reuse says whether another socket may have the same port: the other, when it is
// bound, must say so too.
func reuse(c syscall.RawConn, on int) error {
	var ferr error
	err := c.Control(func(fd uintptr) { ferr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, on) })
	return errors.Join(err, ferr)
}

// newInbox opens an inbox for datagrams of up to size bytes of the door's peer,
// who was sent nothing yet that it would answer: what came before is dropped.
func newInbox(d *door, size int) (*inbox, error) {
	// Only now, and no longer than it takes: a port that others may have as well
	// is given to the next who asks for any.
	door, err := d.conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := reuse(door, 1); err != nil {
		return nil, err
	}
	beside := net.Dialer{
		LocalAddr: d.conn.LocalAddr(),
		Control:   func(_, _ string, c syscall.RawConn) error { return reuse(c, 1) },
	}
	conn, err := beside.Dial(network(d.peer.Addr()), d.peer.String())
	reuse(door, 0)
	if err != nil {
		return nil, err
	}
	withFD(conn.(*net.UDPConn), func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0) })
	s, err := newSocket(conn.(*net.UDPConn))
	if err != nil {
		return nil, err
	}
	b := &inbox{socket: s, one: make([]byte, size)}
	for errno := unix.Errno(0); errno == 0; { // a stranger's may have come before the socket was connected
		_, errno = b.receive(unix.MSG_DONTWAIT)
	}
	go d.keep()
	return b, nil
}

// widen makes room for windows of n datagrams of up to size bytes. Where the
// kernel can hand over many datagrams as one (UDP_GRO, Linux 5.0) it does: those
// that left by UDP_SEGMENT cross the machine, or a veth pair, in one piece.
func (b *inbox) widen(n, size int) {
	b.roomy(min(max(n*size, inboxLen), queueMost))
	if unix.SetsockoptInt(b.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil {
		b.many = newReader(b.socket, inboxLen/mergedLen, mergedLen)
		return
	}
	b.batches(n, size)
}

// batches is for older kernels.
func (b *inbox) batches(n, size int) {
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

// read waits for datagrams and returns how many there are, and none when the
// socket was woken. After the time it returns os.ErrDeadlineExceeded.
func (b *inbox) read() (n int, err error) {
	if b.many != nil {
		n, err = b.many.read(0)
	} else if size, errno := b.receive(0); errno != 0 {
		err = errno
	} else {
		b.n, n = size, 1
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// receive takes one datagram.
func (b *inbox) receive(flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(b.fd), uintptr(unsafe.Pointer(&b.one[0])), uintptr(len(b.one)),
		uintptr(unix.MSG_TRUNC|flags), 0, 0)
	return int(n), errno
}

// datagram returns one of those that were read, and the size of those that it
// was made of: all but the last are that long. It is good until the next read.
// One that was cut off is longer than there should be any.
func (b *inbox) datagram(i int) (p []byte, size int) {
	if b.many == nil {
		p = b.one[:min(b.n, len(b.one))]
		return p, len(p)
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

// send sends to the server. What cannot be sent is a packet lost: the link may
// come back. A packet that the link takes at once, as nearly all do, goes around
// Go's scheduler: to tell it of the call costs a fifth of what the call does.
func (b *inbox) send(p []byte) {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(b.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		unix.Syscall6(unix.SYS_SENDTO, uintptr(b.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	}
}
