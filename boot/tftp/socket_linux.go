package tftp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A local is the address of ours that a packet was sent to.
type local struct {
	addr    netip.Addr // invalid where it is not known
	ifindex int
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

// askLocal has the kernel say of each packet which address it was sent to. A
// socket for both families takes both options; one for IPv4 refuses the second.
func askLocal(conn *net.UDPConn) error {
	return withFD(conn, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		err6 := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if err != nil && err6 != nil {
			return err
		}
		return nil
	})
}

// parseLocal reads what askLocal asked for. A packet to a broadcast or
// multicast address is not ok: RFC 1123 section 4.2.3.5 has it ignored.
func parseLocal(oob []byte) (l local, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return local{}, true
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// ifindex, our address on that interface, address in the packet
			ours, sent := netip.AddrFrom4([4]byte(m.Data[4:8])), netip.AddrFrom4([4]byte(m.Data[8:12]))
			if ours.IsUnspecified() {
				ours = sent // it came before askLocal
			}
			return local{ours, int(binary.NativeEndian.Uint32(m.Data))}, ours == sent && !sent.IsMulticast()
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			sent := netip.AddrFrom16([16]byte(m.Data[:16]))
			if sent.Is4In6() {
				continue // the same packet's IP_PKTINFO says more
			}
			l = local{sent, int(binary.NativeEndian.Uint32(m.Data[16:]))}
			if sent.IsLinkLocalUnicast() {
				l.addr = sent.WithZone(strconv.Itoa(l.ifindex))
			}
			return l, !sent.IsMulticast()
		}
	}
	return local{}, true
}

// control has a packet leave from l, address and link, over a socket bound to neither.
func (l local) control() []byte {
	switch {
	case l.addr.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(l.ifindex), Spec_dst: l.addr.As4()})
	case l.addr.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(l.ifindex), Addr: l.addr.As16()})
	}
	return nil
}

// pathMTU is what the kernel knows of the path between the two: that of the
// route, of the loopback for a local client, or what a router reported.
func pathMTU(from netip.Addr, to netip.AddrPort) int {
	mtu := 0
	conn, err := net.DialUDP("udp", udpAddr(netip.AddrPortFrom(from, 0)), udpAddr(to))
	if err != nil {
		return defaultMTU
	}
	defer conn.Close()
	withFD(conn, func(fd int) (err error) {
		if to.Addr().Is4() {
			mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		} else {
			mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
		return err
	})
	if mtu <= 0 {
		return defaultMTU
	}
	return mtu
}

// askRefused has reads on an unconnected socket return ECONNREFUSED when a
// packet of ours met a closed port.
func askRefused(conn *net.UDPConn) {
	withFD(conn, func(fd int) error {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		return nil
	})
}

// named gives a link-local address its link's name for a zone, as package net
// has it, where that is known.
func named(a netip.AddrPort) netip.AddrPort {
	index, err := strconv.Atoi(a.Addr().Zone())
	if err != nil {
		return a
	}
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return a
	}
	return netip.AddrPortFrom(a.Addr().WithZone(link.Name), a.Port())
}

// nap sleeps without the runtime's poller, whose clock ticks in milliseconds.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&t, nil)
}
