//go:build linux

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Netlink asks the kernel for the interfaces of a network namespace, and
// changes them, see rtnetlink(7). The namespace is that of the thread that
// opened it. Several goroutines may use it.
//
// It is written on the messages of package nl. Package netlink above that can
// read and write every kind of link and route there is, which is 130 KB of the
// binary.
type Netlink struct{ sockets map[int]*nl.SocketHandle }

// An Interface is one as the kernel describes it.
type Interface struct {
	Name  string
	Index int
	Type  uint16 // unix.ARPHRD_ETHER of Ethernet
	MAC   []byte // empty where it has none
	Flags uint32 // unix.IFF_UP and others
	Kind  string // of a virtual one, such as veth, bridge or dsa
}

// OpenNetlink opens a socket in the caller's network namespace.
func OpenNetlink() (*Netlink, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n := &Netlink{map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}
	if err := errors.Join(s.SetSendTimeout(&nl.SocketTimeoutTv), s.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		n.Close()
		return nil, fmt.Errorf("set timeouts of netlink: %w", err)
	}
	return n, nil
}

// Close closes the socket.
func (n *Netlink) Close() { n.sockets[unix.NETLINK_ROUTE].Close() }

// Interfaces lists all interfaces, in no order.
func (n *Netlink) Interfaces() ([]Interface, error) {
	messages, err := n.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, err
	}
	var list []Interface
	for _, m := range messages {
		i, err := interfaceOf(m)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

// InterfaceByName returns one interface. The error is ENODEV where there is none.
func (n *Netlink) InterfaceByName(name string) (Interface, error) {
	messages, err := n.request(unix.RTM_GETLINK, unix.NLM_F_ACK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if err != nil {
		return Interface{}, err
	}
	if len(messages) == 0 {
		return Interface{}, unix.ENODEV
	}
	return interfaceOf(messages[0])
}

// interfaceOf reads an RTM_NEWLINK message.
func interfaceOf(message []byte) (Interface, error) {
	head := nl.DeserializeIfInfomsg(message)
	attributes, err := nl.ParseRouteAttr(message[head.Len():])
	if err != nil {
		return Interface{}, err
	}
	i := Interface{Index: int(head.Index), Type: head.Type, Flags: head.Flags}
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			i.Name = text(a.Value)
		case unix.IFLA_ADDRESS:
			i.MAC = a.Value
		case unix.IFLA_LINKINFO:
			if i.Kind, err = kindOf(a.Value); err != nil {
				return Interface{}, err
			}
		}
	}
	return i, nil
}

func kindOf(linkInfo []byte) (string, error) {
	attributes, err := nl.ParseRouteAttr(linkInfo)
	for _, a := range attributes {
		if a.Attr.Type == nl.IFLA_INFO_KIND {
			return text(a.Value), nil
		}
	}
	return "", err
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// SwitchOn sets an interface up.
func (n *Netlink) SwitchOn(index int) error {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index, head.Flags, head.Change = int32(index), unix.IFF_UP, unix.IFF_UP
	_, err := n.request(unix.RTM_NEWLINK, unix.NLM_F_ACK, 0, head)
	return err
}

// Addrs lists an interface's addresses of both families, with the lengths of
// their prefixes. One with a peer is a single address.
func (n *Netlink) Addrs(index int) ([]netip.Prefix, error) {
	messages, err := n.request(unix.RTM_GETADDR, unix.NLM_F_DUMP, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, m := range messages {
		head := nl.DeserializeIfAddrmsg(m)
		if int(head.Index) != index {
			continue
		}
		attributes, err := nl.ParseRouteAttr(m[head.Len():])
		if err != nil {
			return nil, err
		}
		// IFA_LOCAL is there for IPv4, and where IFA_ADDRESS is the peer's.
		var local, address netip.Addr
		for _, a := range attributes {
			switch a.Attr.Type {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(a.Value)
			case unix.IFA_ADDRESS:
				address, _ = netip.AddrFromSlice(a.Value)
			}
		}
		switch {
		case !local.IsValid() || local == address:
			list = append(list, netip.PrefixFrom(address, int(head.Prefixlen)))
		default:
			list = append(list, netip.PrefixFrom(local, local.BitLen()))
		}
	}
	return list, nil
}

// SetAddr gives an interface one more address. It is no error that it has it.
func (n *Netlink) SetAddr(index int, addr netip.Prefix) error {
	attributes := []nl.NetlinkRequestData{
		nl.NewRtAttr(unix.IFA_LOCAL, addr.Addr().AsSlice()),
		nl.NewRtAttr(unix.IFA_ADDRESS, addr.Addr().AsSlice()),
	}
	if addr.Addr().Is4() && addr.Bits() < 31 { // RFC 3021: a /31 has no broadcast address
		last := addr.Addr().As4()
		binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|1<<(32-addr.Bits())-1)
		attributes = append(attributes, nl.NewRtAttr(unix.IFA_BROADCAST, last[:]))
	}
	_, err := n.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, 0, addrHead(index, addr), attributes...)
	return err
}

// RemoveAddr takes an address from an interface.
func (n *Netlink) RemoveAddr(index int, addr netip.Prefix) error {
	attributes := []nl.NetlinkRequestData{nl.NewRtAttr(unix.IFA_LOCAL, addr.Addr().AsSlice())}
	if !addr.IsSingleIP() { // which may have a peer, see Addrs
		attributes = append(attributes, nl.NewRtAttr(unix.IFA_ADDRESS, addr.Addr().AsSlice()))
	}
	_, err := n.request(unix.RTM_DELADDR, unix.NLM_F_ACK, 0, addrHead(index, addr), attributes...)
	return err
}

func addrHead(index int, addr netip.Prefix) *nl.IfAddrmsg {
	head := nl.NewIfAddrmsg(family(addr.Addr()))
	head.Index, head.Prefixlen = uint32(index), uint8(addr.Bits())
	return head
}

// SetDefaultRoute makes gateway the default route of its family.
func (n *Netlink) SetDefaultRoute(index int, gateway netip.Addr) error {
	head := nl.NewRtMsg()
	head.Family = uint8(family(gateway))
	_, err := n.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, 0, head,
		nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	return err
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// request sends a message. It returns the answers of the type wanted.
func (n *Netlink) request(message, flags int, wanted uint16, head nl.NetlinkRequestData, attributes ...nl.NetlinkRequestData) ([][]byte, error) {
	r := nl.NewNetlinkRequest(message, flags)
	r.Sockets = n.sockets
	r.AddData(head)
	for _, a := range attributes {
		r.AddData(a)
	}
	return r.Execute(unix.NETLINK_ROUTE, wanted)
}
