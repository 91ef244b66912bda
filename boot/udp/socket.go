//go:build linux

package udp

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Batch is the most datagrams that one system call brings or takes.
const Batch = 64

// A PacketConn is an unbatched UDP socket: a *net.UDPConn, or a *PortConn of a
// [Network]. Requests leave from one, and the other types here are made of it.
type PacketConn interface {
	ReadFromUDPAddrPort(p []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(p []byte, to netip.AddrPort) (n int, err error)
	SetReadDeadline(t time.Time) error
	LocalAddr() net.Addr
	Close() error
}

// A Socket is a UDP socket that is read and written in batches. Its system
// calls block a thread. In lockstep each block is one packet each way, and to
// ask a poller first would double the calls.
type Socket struct {
	system system
	addr   netip.AddrPort
	v6     bool // for IPv6, and perhaps for IPv4 as well
	atomic bool // see SetFragments
}

// system is what a socket asks of the kernel. A Network stands in for it.
// There is one call a batch, none a datagram.
type system interface {
	recvmmsg(msgs []mmsghdr, flags int) (n int, errno unix.Errno)
	sendmmsg(msgs []mmsghdr) (n int, errno unix.Errno)
	recv(p []byte, flags int) (n int, errno unix.Errno)
	send(p []byte)

	setReceiveTimeout(d time.Duration)
	setSendTimeout(d time.Duration)
	setBuffers(n int)
	setFragments(may bool) error
	setGRO() error
	reportLocal() error
	reportRefused()
	refused(f func(netip.AddrPort)) (found bool)
	pathMTU(from netip.Addr, to netip.AddrPort) int
	listen(at netip.AddrPort, v6 bool) (PacketConn, error)

	interrupt()
	close()
}

// memoryConn is a *PortConn. It is asked for by its methods, so that a binary
// without a Network does not hold one.
type memoryConn interface {
	system() system
	connect(peer netip.AddrPort) system
}

// mmsghdr is that of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// NewSocket takes conn over, which is closed even where there is an error.
func NewSocket(conn PacketConn) (*Socket, error) {
	addr := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	if c, ok := conn.(memoryConn); ok {
		return &Socket{system: c.system(), addr: addr, v6: !addr.Addr().Is4()}, nil
	}
	k, v6, err := takeOver(conn.(*net.UDPConn))
	if err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	return &Socket{system: k, addr: addr, v6: v6}, nil
}

// Beside opens another socket at the same address, on a free port.
func (s *Socket) Beside() (*Socket, error) {
	conn, err := s.system.listen(netip.AddrPortFrom(s.addr.Addr(), 0), s.v6)
	if err != nil {
		return nil, err
	}
	return NewSocket(conn)
}

// LocalAddr is the socket's own address and port.
func (s *Socket) LocalAddr() netip.AddrPort { return s.addr }

// SetBuffers asks for n bytes for each of the kernel's two queues. The system
// may give less.
func (s *Socket) SetBuffers(n int) { s.system.setBuffers(n) }

// SetSendTimeout bounds how long a full link may hold up a writer. What has not
// left by then is lost.
func (s *Socket) SetSendTimeout(d time.Duration) { s.system.setSendTimeout(d) }

// SetFragments says whether an IPv4 datagram may leave in fragments. If none
// may, all are atomic, and the kernel need not draw an identification for each
// (RFC 6864 section 4). That saves a twentieth of a block in lockstep. A
// datagram too long for its path is then EMSGSIZE, and the Writer allows
// fragments from there on.
func (s *Socket) SetFragments(may bool) { s.atomic = s.system.setFragments(may) == nil && !may }

// ReportLocal has the kernel say of each datagram which address of ours it was
// sent to, see [Reader.Local].
func (s *Socket) ReportLocal() error { return s.system.reportLocal() }

// ReportRefused has reads and writes fail when a datagram of ours met a closed
// port. [Socket.Refused] then names the peer.
func (s *Socket) ReportRefused() { s.system.reportRefused() }

// Refused calls f for each peer whose port turned out to be closed (ICMP port
// unreachable). It returns whether the kernel had anything to report.
func (s *Socket) Refused(f func(peer netip.AddrPort)) (found bool) { return s.system.refused(f) }

// Interrupt ends a read that blocks, and all later ones.
func (s *Socket) Interrupt() { s.system.interrupt() }

// Close closes the socket. Nobody may be reading or writing it.
func (s *Socket) Close() { s.system.close() }

// ReportRefused is Socket.ReportRefused for a conn that is not taken over:
// its reads return ECONNREFUSED.
func ReportRefused(conn PacketConn) {
	if c, ok := conn.(*net.UDPConn); ok {
		withFD(c, func(fd int) error { kernel(fd).reportRefused(); return nil })
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// udpAddr is nil for an address that is not known.
func udpAddr(a netip.AddrPort) *net.UDPAddr {
	if !a.Addr().IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(a)
}
