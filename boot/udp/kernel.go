//go:build linux

package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// oobLen is room for the control messages of a datagram. A socket for both
// families says an IPv4 address twice.
const oobLen = 128

// kernel is a file descriptor, used by system calls that block. It has a method
// for each system call of system.
type kernel int

// takeOver duplicates conn's descriptor and closes conn, so that Go's poller
// lets go of the socket.
func takeOver(conn *net.UDPConn) (k kernel, v6 bool, err error) {
	defer conn.Close()
	fd := -1
	err = withFD(conn, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	err = unix.SetNonblock(fd, false)
	domain, derr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err := errors.Join(err, derr); err != nil {
		unix.Close(fd)
		return 0, false, err
	}
	return kernel(fd), domain == unix.AF_INET6, nil
}

func withFD(conn *net.UDPConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func (k kernel) recvmmsg(msgs []mmsghdr, flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(k), uintptr(unsafe.Pointer(&msgs[0])),
		uintptr(len(msgs)), uintptr(flags|unix.MSG_WAITFORONE), 0, 0)
	return int(n), errno
}

// sendmmsg sends a few messages without a word to Go's scheduler, if that
// takes no wait.
func (k kernel) sendmmsg(msgs []mmsghdr) (int, unix.Errno) {
	const few = 4
	first := uintptr(unsafe.Pointer(&msgs[0]))
	if len(msgs) <= few {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(k), first, uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EAGAIN {
			return int(n), errno
		}
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(k), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), 0, 0, 0)
	return int(n), errno
}

// recv takes one datagram, of a connected socket.
func (k kernel) recv(p []byte, flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(k), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		uintptr(unix.MSG_TRUNC|flags), 0, 0)
	return int(n), errno
}

// send sends one datagram on a connected socket. Nearly always the link takes
// it at once. Then Go's scheduler is not told of the call, which would cost a
// fifth of what the call does.
func (k kernel) send(p []byte) {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(k), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		unix.Syscall6(unix.SYS_SENDTO, uintptr(k), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	}
}

func (k kernel) setReceiveTimeout(d time.Duration) { k.setTimeout(unix.SO_RCVTIMEO, d) }
func (k kernel) setSendTimeout(d time.Duration)    { k.setTimeout(unix.SO_SNDTIMEO, d) }

func (k kernel) setTimeout(option int, d time.Duration) {
	tv := unix.NsecToTimeval(int64(d))
	unix.SetsockoptTimeval(int(k), unix.SOL_SOCKET, option, &tv)
}

func (k kernel) setBuffers(n int) {
	for option, forced := range map[int]int{unix.SO_RCVBUF: unix.SO_RCVBUFFORCE, unix.SO_SNDBUF: unix.SO_SNDBUFFORCE} {
		if unix.SetsockoptInt(int(k), unix.SOL_SOCKET, forced, n) != nil {
			unix.SetsockoptInt(int(k), unix.SOL_SOCKET, option, n)
		}
	}
}

func (k kernel) setFragments(may bool) error {
	how := unix.IP_PMTUDISC_DO
	if may {
		how = unix.IP_PMTUDISC_WANT // the system's default
	}
	return unix.SetsockoptInt(int(k), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, how)
}

// setGRO has the kernel hand over many datagrams as one (Linux 5.0).
func (k kernel) setGRO() error {
	return unix.SetsockoptInt(int(k), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
}

// reportLocal sets both options on a socket for both families. A socket for
// IPv4 refuses the second.
func (k kernel) reportLocal() error {
	err := unix.SetsockoptInt(int(k), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	err6 := unix.SetsockoptInt(int(k), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	if err != nil && err6 != nil {
		return err
	}
	return nil
}

func (k kernel) reportRefused() {
	unix.SetsockoptInt(int(k), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	unix.SetsockoptInt(int(k), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}

// refused reads the socket's error queue.
func (k kernel) refused(f func(netip.AddrPort)) (found bool) {
	var name unix.RawSockaddrInet6
	var oob [4 * oobLen]byte
	for {
		m := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&name)), Namelen: unix.SizeofSockaddrInet6, Control: &oob[0]}
		m.SetControllen(len(oob))
		if _, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(k), uintptr(unsafe.Pointer(&m)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); errno != 0 {
			return found
		}
		found = true
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

// listen opens another socket.
func (kernel) listen(at netip.AddrPort, v6 bool) (PacketConn, error) {
	family := "udp4"
	if v6 {
		family = "udp" // for IPv4 too
	}
	conn, err := net.ListenUDP(family, udpAddr(at))
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// interrupt relies on shutdown(2), which ends reads of a UDP socket although
// it says ENOTCONN.
func (k kernel) interrupt() { unix.Shutdown(int(k), unix.SHUT_RD) }

func (k kernel) close() { unix.Close(int(k)) }
