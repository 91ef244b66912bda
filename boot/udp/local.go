//go:build linux

package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

const defaultMTU = 1500

// A Local is the address of ours that a datagram was sent to, and the link it
// came by. The zero value means that neither is known.
type Local struct {
	Addr    netip.Addr
	Ifindex int
}

// parseLocal reads the control messages that ReportLocal asked for.
func parseLocal(oob []byte) (l Local, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return Local{}, true
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// ifindex, our address on that interface, address in the packet
			ours, sent := netip.AddrFrom4([4]byte(m.Data[4:8])), netip.AddrFrom4([4]byte(m.Data[8:12]))
			if ours.IsUnspecified() {
				ours = sent // it came before ReportLocal
			}
			return Local{ours, int(binary.NativeEndian.Uint32(m.Data))}, ours == sent && !sent.IsMulticast()
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			sent := netip.AddrFrom16([16]byte(m.Data[:16]))
			if sent.Is4In6() {
				continue // the same packet's IP_PKTINFO says more
			}
			l = Local{sent, int(binary.NativeEndian.Uint32(m.Data[16:]))}
			if sent.IsLinkLocalUnicast() {
				l.Addr = sent.WithZone(strconv.Itoa(l.Ifindex))
			}
			return l, !sent.IsMulticast()
		}
	}
	return Local{}, true
}

// control has a datagram leave from l, address and link, over a socket that is
// bound to neither.
func (l Local) control() []byte {
	switch {
	case l.Addr.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(l.Ifindex), Spec_dst: l.Addr.As4()})
	case l.Addr.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(l.Ifindex), Addr: l.Addr.As16()})
	}
	return nil
}

// PathMTU is what the kernel knows of the path between two addresses, in
// bytes: the MTU of the route, of the loopback for a local peer, or what a
// router reported.
func (s *Socket) PathMTU(from netip.Addr, to netip.AddrPort) int { return s.system.pathMTU(from, to) }

func (kernel) pathMTU(from netip.Addr, to netip.AddrPort) int {
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

// NamedZone gives a link-local address its link's name for a zone, as package
// net has it, where that is known.
func NamedZone(a netip.AddrPort) netip.AddrPort {
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
