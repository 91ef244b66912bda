package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/bootlace/bootlace/boot"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// listen opens a port of udp4 or udp6 on one interface alone, and joins groups.
// It shares the port with nobody (no SO_REUSEADDR): of two servers there each
// would get some packets. Nothing is broadcast through it (package net would let
// us), though a packet may come from a broadcast address or name one as its
// relay's: where it is due, frames of our own are.
func listen(iface, network string, port uint16, groups ...unix.IPv6Mreq) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), iface), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0))
			for _, g := range groups {
				err = errors.Join(err, unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &g))
			}
		})
		return err
	}}
	conn, err := config.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("dhcp: port %d on %s is taken by another program, such as dnsmasq, a DHCP server or a second bootlace; stop that one, or start with --dhcp off: %w", port, iface, unix.EADDRINUSE)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("dhcp: port %d on %s needs root, or the capabilities net_bind_service and net_raw: %w", port, iface, unix.EPERM)
	case err != nil:
		return nil, fmt.Errorf("dhcp: listen on port %d of %s: %w", port, iface, err)
	}
	return conn.(*net.UDPConn), nil
}

// A wire sends and receives whole Ethernet frames on one interface.
type wire struct {
	fd    int
	index int
	mac   boot.MAC
}

// openWire opens a packet socket. protocol 0 receives nothing.
func openWire(ifi *net.Interface, protocol uint16) (*wire, error) {
	w := &wire{index: ifi.Index}
	copy(w.mac[:], ifi.HardwareAddr)
	big := protocol<<8 | protocol>>8 // packet(7): in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(big))
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("dhcp: raw frames on %s need root, or the capability net_raw: %w", ifi.Name, err)
		}
		return nil, fmt.Errorf("dhcp: open packet socket: %w", err)
	}
	w.fd = fd
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: big, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("dhcp: bind packet socket to %s: %w", ifi.Name, err)
	}
	return w, nil
}

func (w *wire) send(dst boot.MAC, from, to netip.AddrPort, payload []byte) error {
	to4 := unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6}
	copy(to4.Addr[:], dst[:])
	return unix.Sendto(w.fd, frame(w.mac, dst, from, to, payload), 0, &to4)
}

func (w *wire) Close() error { return unix.Close(w.fd) }

// sendFrom sends by UDP from one of our addresses, whatever others the
// interface has: clients compare it with option 54.
func sendFrom(conn *net.UDPConn, from netip.Addr, index int, to netip.AddrPort, payload []byte) error {
	cm := ipv4.ControlMessage{Src: ip4(from), IfIndex: index}
	_, _, err := conn.WriteMsgUDPAddrPort(payload, cm.Marshal(), to)
	return err
}

// ownAddr finds the interface's IPv4 address: the one in the prefix of
// `near`, if there is one, else the first.
func ownAddr(ifi *net.Interface, near netip.Addr) (netip.Addr, error) {
	list, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("dhcp: addresses of %s: %w", ifi.Name, err)
	}
	var first netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		if near.IsValid() && p.Contains(near) {
			return p.Addr(), nil
		}
		if !first.IsValid() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return first, fmt.Errorf("dhcp: interface %s has no IPv4 address", ifi.Name)
	}
	return first, nil
}
