package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch        = 64                    // datagrams a system call
	segments     = 32                    // datagrams that leave as one: a receiver takes the first half of a window of 64 while the other leaves
	segmentable  = 65000                 // bytes that one call may leave to be cut up
	oobLen       = 128                   // bytes of control messages: a socket for both families says an IPv4 address twice
	rxLen        = 9216                  // bytes of a datagram that a server takes: a jumbo frame's DATA
	rxQueue      = 4 << 20               // bytes that the kernel may keep for us: requests and ACKs come in storms
	sendPatience = 20 * time.Millisecond // how long a full link may hold up the sender; what does not leave is lost
)

// A socket is a UDP socket that is read and written in batches, by system calls
// that block: in lockstep each block is one packet each way, and asking a poller
// first would double the calls.
type socket struct {
	fd     int
	v6     bool           // for IPv6, and perhaps for IPv4 as well
	port   netip.AddrPort // its own
	atomic bool           // see fragments
}

// mmsghdr is that of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// newSocket takes conn over.
func newSocket(conn *net.UDPConn) (*socket, error) {
	port := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{port: port}
	var ferr error
	// Go's poller lets go of conn; the duplicate lives on.
	err = raw.Control(func(fd uintptr) { s.fd, ferr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	conn.Close()
	if err := errors.Join(err, ferr); err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	err = unix.SetNonblock(s.fd, false)
	domain, ferr := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err := errors.Join(err, ferr); err != nil {
		s.close()
		return nil, err
	}
	s.v6 = domain == unix.AF_INET6
	wait := unix.NsecToTimeval(int64(sendPatience))
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)
	return s, nil
}

// roomy asks for large queues, as far as the system gives them.
func (s *socket) roomy(n int) {
	for opt, forced := range map[int]int{unix.SO_RCVBUF: unix.SO_RCVBUFFORCE, unix.SO_SNDBUF: unix.SO_SNDBUFFORCE} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, forced, n) != nil {
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt, n)
		}
	}
}

// fragments says whether an IPv4 datagram may leave in fragments. If none may,
// all are atomic, and the kernel need not draw an identification for each (RFC
// 6864 section 4), which costs it a twentieth of a block in lockstep. One that is
// too long for its path then is EMSGSIZE.
func (s *socket) fragments(may bool) {
	how := unix.IP_PMTUDISC_DO
	if may {
		how = unix.IP_PMTUDISC_WANT // the system's default
	}
	s.atomic = unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, how) == nil && !may
}

// wake ends a read that blocks and all later ones: on a UDP socket shutdown(2)
// says ENOTCONN, and does so all the same.
func (s *socket) wake() { unix.Shutdown(s.fd, unix.SHUT_RD) }

func (s *socket) close() { unix.Close(s.fd) }

// A reader takes datagrams from a socket.
type reader struct {
	*socket
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // or Inet4
	oob   [][oobLen]byte
	buf   []byte

	most, full, doubt int // see took
}

// newReader makes a reader of n datagrams a call, of size bytes each.
func newReader(s *socket, n, size int) *reader {
	r := &reader{
		socket: s, msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrInet6, n), oob: make([][oobLen]byte, n), buf: make([]byte, n*size),
		most: n,
	}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buf[i*size]
		r.iovs[i].SetLen(size)
		m := &r.msgs[i]
		m.Iov = &r.iovs[i]
		m.SetIovlen(1)
		m.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		m.Control = &r.oob[i][0]
	}
	return r
}

// read waits for datagrams and returns how many there are; none: the socket was
// woken. flags are those of recvmmsg.
func (r *reader) read(flags int) (int, error) {
	r.ready()
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msgs[0])),
			uintptr(r.most), uintptr(flags|unix.MSG_WAITFORONE), 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case n == 1 && r.msgs[0].Namelen == 0:
			return 0, nil // of no sender: what shutdown lets through
		}
		return r.took(int(n)), nil
	}
}

// ready has the messages take datagrams again.
func (r *reader) ready() {
	for i := range r.msgs[:r.most] {
		m := &r.msgs[i]
		m.Namelen = unix.SizeofSockaddrInet6
		m.SetControllen(oobLen)
	}
}

// took adapts how many datagrams the next call asks for: to ask for one that is
// not there costs half as much as to get one. It asks for one more now and then.
func (r *reader) took(n int) int {
	r.full++
	switch {
	case n < r.most:
		r.most, r.doubt, r.full = n, min(2*r.doubt+1, batch), 0
	case r.full > r.doubt || n > 1:
		r.most, r.doubt, r.full = min(2*n, len(r.msgs)), r.doubt/2, 0
	}
	return n
}

// datagram returns one of those that were read; it is good until the next read.
// One that was cut off is nil.
func (r *reader) datagram(i int) []byte {
	m := &r.msgs[i]
	if m.Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	size := len(r.buf) / len(r.msgs)
	return r.buf[i*size:][:m.n]
}

// from is the sender of a datagram; a link-local one has the number of its link
// for a zone.
func (r *reader) from(i int) netip.AddrPort { return addrPort(&r.names[i]) }

func addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p := binary.BigEndian.Uint16(port[:])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), p)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if a.IsLinkLocalUnicast() && a.Is6() {
		a = a.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return netip.AddrPortFrom(a, p)
}

// control are the control messages of a datagram.
func (r *reader) control(i int) []byte { return r.oob[i][:min(int(r.msgs[i].Controllen), oobLen)] }

// refusals calls f for peers whose ports are closed, as ICMP told since it was
// asked last, and returns whether there was anything of that kind.
func (s *socket) refusals(f func(netip.AddrPort)) (any bool) {
	var name unix.RawSockaddrInet6
	var oob [4 * oobLen]byte
	for {
		m := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&name)), Namelen: unix.SizeofSockaddrInet6, Control: &oob[0]}
		m.SetControllen(len(oob))
		if _, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); errno != 0 {
			return any
		}
		any = true
		cmsgs, err := unix.ParseSocketControlMessage(oob[:m.Controllen])
		if err != nil {
			continue
		}
		for _, c := range cmsgs {
			recverr := c.Header.Level == unix.IPPROTO_IP && c.Header.Type == unix.IP_RECVERR ||
				c.Header.Level == unix.IPPROTO_IPV6 && c.Header.Type == unix.IPV6_RECVERR
			if recverr && len(c.Data) >= 4 && binary.NativeEndian.Uint32(c.Data) == uint32(unix.ECONNREFUSED) {
				f(addrPort(&name))
			}
		}
	}
}
