//go:build linux

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Listen opens a port of DHCP on one interface alone, and joins multicast
// groups. network is udp4 or udp6.
//
// SO_REUSEADDR is off, so that a second server on the port is an error. Each of
// two would get some packets only. The error names the port and says what to do.
//
// SO_BROADCAST, which package net sets, is cleared. The source or relay address
// of a packet can be forged to a broadcast address. Answers that must be
// broadcast go out as raw frames, by Conn.Send.
func Listen(ifi *net.Interface, network string, port uint16, groups ...netip.Addr) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), ifi.Name), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0))
			for _, g := range groups {
				m := unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(ifi.Index)}
				err = errors.Join(err, unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &m))
			}
		})
		return err
	}}
	conn, err := config.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("port %d on %s is taken by another program, such as dnsmasq, a DHCP server or a second bootlace; stop that one, or start with --dhcp off: %w", port, ifi.Name, unix.EADDRINUSE)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("port %d on %s needs root, or the capabilities net_bind_service and net_raw: %w", port, ifi.Name, unix.EPERM)
	case err != nil:
		return nil, fmt.Errorf("listen on port %d of %s: %w", port, ifi.Name, err)
	}
	return conn.(*net.UDPConn), nil
}

// Receive handles the packets of a port, one after another. It returns nil once
// ctx has ended and conn was closed. handle may keep nothing of the packet.
//
// Read errors such as ENETDOWN pass when the link is back. They are told to
// failed, and reading goes on after the pause.
func Receive(ctx context.Context, conn *net.UDPConn, pause time.Duration, failed func(error), handle func(packet []byte, from netip.AddrPort)) error {
	buf := make([]byte, MaxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			failed(err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		handle(buf[:n], from)
	}
}

// SendFrom sends by UDP from one of our IPv4 addresses, whatever others the
// interface has. A DHCP client compares it with option 54.
func SendFrom(conn *net.UDPConn, ifIndex int, from netip.Addr, to netip.AddrPort, payload []byte) error {
	cm := ipv4.ControlMessage{Src: from.AsSlice(), IfIndex: ifIndex}
	_, _, err := conn.WriteMsgUDPAddrPort(payload, cm.Marshal(), to)
	return err
}
