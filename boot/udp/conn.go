//go:build linux

package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchLen  = 256 << 10 // bytes of datagrams that one system call may bring
	mergedLen = 64 << 10  // and of those that the kernel merged into one
	maxQueue  = 4 << 20   // bytes that the kernel is asked to keep for a window
)

// A Conn is a socket that is connected to one peer, and what came last. It
// takes one datagram a call, by the cheapest of calls, until it is widened.
// That it is connected spares the kernel a look at its routes for each packet.
type Conn struct {
	*Socket
	timeout time.Duration

	one  []byte
	n    int     // bytes of the datagram in one
	many *Reader // nil before Widen
}

// Connect opens a socket on the port of conn for datagrams of up to size bytes
// from peer. Datagrams of all others still come to conn, which stays open.
// What came before Connect is dropped, so peer was sent nothing yet that it
// would answer.
func Connect(conn PacketConn, peer netip.AddrPort, size int) (*Conn, error) {
	if c, ok := conn.(memoryConn); ok {
		addr := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
		s := &Socket{system: c.connect(peer), addr: addr, v6: peer.Addr().Is6()}
		return &Conn{Socket: s, one: make([]byte, size)}, nil
	}
	connected, err := connectBeside(conn.(*net.UDPConn), peer)
	if err != nil {
		return nil, err
	}
	s, err := NewSocket(connected)
	if err != nil {
		return nil, err
	}
	c := &Conn{Socket: s, one: make([]byte, size)}
	for errno := unix.Errno(0); errno == 0; { // a stranger's may have come before the socket was connected
		_, errno = c.system.recv(c.one, unix.MSG_DONTWAIT)
	}
	return c, nil
}

// connectBeside opens the second socket on conn's port. The port may be shared
// only now, and no longer than it takes: the kernel gives a shared port to the
// next who asks for any.
func connectBeside(conn *net.UDPConn, peer netip.AddrPort) (*net.UDPConn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := setReuse(raw, 1); err != nil {
		return nil, err
	}
	dialer := net.Dialer{
		LocalAddr: conn.LocalAddr(),
		Control:   func(_, _ string, c syscall.RawConn) error { return setReuse(c, 1) },
	}
	network := "udp6"
	if peer.Addr().Is4() {
		network = "udp4"
	}
	beside, err := dialer.Dial(network, peer.String())
	setReuse(raw, 0)
	if err != nil {
		return nil, err
	}
	c := beside.(*net.UDPConn)
	withFD(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0) })
	return c, nil
}

// setReuse says whether another socket may have the same port. Both must.
func setReuse(c syscall.RawConn, on int) error {
	var ferr error
	err := c.Control(func(fd uintptr) { ferr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, on) })
	return errors.Join(err, ferr)
}

// Widen makes room for windows of n datagrams of up to size bytes. The kernel
// merges datagrams where it can (UDP_GRO): those that left by UDP_SEGMENT
// cross the machine, or a veth pair, in one piece.
func (c *Conn) Widen(n, size int) {
	c.SetBuffers(min(max(n*size, batchLen), maxQueue))
	if c.system.setGRO() == nil {
		c.many = NewReader(c.Socket, batchLen/mergedLen, mergedLen)
		return
	}
	c.batches(n, size)
}

// batches is for kernels before Linux 5.0.
func (c *Conn) batches(n, size int) {
	size++ // to know one that is too long
	c.many = NewReader(c.Socket, min(max(batchLen/size, 1), n, Batch), size)
}

// SetTimeout bounds how long a Read waits. It may wait a quarter longer, so
// that a timeout that hardly changes costs no system call.
func (c *Conn) SetTimeout(d time.Duration) {
	d = max(d, time.Millisecond)
	if d <= c.timeout && c.timeout <= d+d/4 {
		return
	}
	c.timeout = d + d/8
	c.system.setReceiveTimeout(c.timeout)
}

// Read waits for datagrams and returns how many there are. None, without an
// error, means that the socket was interrupted. At the timeout it returns
// os.ErrDeadlineExceeded.
func (c *Conn) Read() (n int, err error) {
	if c.many != nil {
		n, err = c.many.Read()
	} else if size, errno := c.system.recv(c.one, 0); errno != 0 {
		err = errno
	} else {
		c.n, n = size, 1
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// Datagram returns the i-th datagram of the last Read. It is good until the
// next one. Several may have been merged into it: all of size bytes, but for
// the last. One that was cut off is longer than it may be.
func (c *Conn) Datagram(i int) (p []byte, size int) {
	if c.many == nil {
		p = c.one[:min(c.n, len(c.one))]
		return p, len(p)
	}
	p = c.many.buf[i*c.many.size:][:c.many.msgs[i].n]
	if n := segmentSize(c.many.control(i)); n > 0 {
		return p, n
	}
	return p, len(p)
}

// segmentSize reads the control message of UDP_GRO. 0: there is none.
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

// Send sends a datagram to the peer. What cannot be sent is lost: the link may
// come back.
func (c *Conn) Send(p []byte) { c.system.send(p) }
