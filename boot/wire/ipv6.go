package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	ipv6Header    = 40  // bytes, without extensions
	protocolICMP6 = 58  // RFC 4443 section 1
	hopLimit      = 255 // of neighbour discovery: another is not believed (RFC 4861 section 6.1)
)

// Types of ICMPv6 messages, RFC 4861 section 4.
const (
	RouterSolicitation  = 133
	RouterAdvertisement = 134
)

// Multicast addresses of a link, RFC 4291 section 2.7.1.
var (
	AllNodes   = netip.MustParseAddr("ff02::1")
	AllRouters = netip.MustParseAddr("ff02::2")
)

// ICMP6 builds an Ethernet frame (RFC 2464) of an IPv6 packet (RFC 8200) of an
// ICMPv6 message. That has less than 64 KiB. ICMP6 fills in its checksum.
func ICMP6(src, dst MAC, from, to netip.Addr, message []byte) []byte {
	source, dest := from.As16(), to.As16()
	// The sum is over the addresses, length and protocol too (RFC 4443 section 2.3).
	pseudo := uint32(len(message)) + protocolICMP6 + uint32(Sum(0, source[:])) + uint32(Sum(0, dest[:]))
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], ^Sum(pseudo, message))

	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, IPv6)
	b = append(b, 0x60, 0, 0, 0) // version 6; no class, no flow
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, protocolICMP6, hopLimit)
	b = append(append(b, source[:]...), dest[:]...)
	return append(b, message...)
}

// ParseICMP6 reads a frame that came through a filter: who sent it, and the
// message. One with a wrong checksum, or cut short, is not ok.
func ParseICMP6(frame []byte) (src MAC, from netip.Addr, message []byte, ok bool) {
	const icmpAt = ethernetHeader + ipv6Header
	if len(frame) < icmpAt+8 || binary.BigEndian.Uint16(frame[12:]) != IPv6 || frame[20] != protocolICMP6 || frame[21] != hopLimit {
		return src, from, nil, false
	}
	n := int(binary.BigEndian.Uint16(frame[18:]))
	if n < 8 || icmpAt+n > len(frame) {
		return src, from, nil, false
	}
	addresses, message := frame[22:icmpAt], frame[icmpAt:icmpAt+n]
	if Sum(uint32(n)+protocolICMP6+uint32(Sum(0, addresses)), message) != 0xffff {
		return src, from, nil, false
	}
	return MAC(frame[6:12]), netip.AddrFrom16([16]byte(frame[22:38])), message, true
}

// Solicit is a message that asks for routers, RFC 4861 section 4.1. With a MAC
// other than zero it names its sender.
func Solicit(sender MAC) []byte {
	message := []byte{RouterSolicitation, 0, 0, 0, 0, 0, 0, 0}
	if sender != (MAC{}) {
		message = append(append(message, 1, 1), sender[:]...)
	}
	return message
}

// Advertise is a router advertisement, RFC 4861 section 4.2. Its lifetime is 0,
// so its sender is no default router. With the zero Prefix it says nothing else.
//
// A network is said to be on the link, with addresses by DHCPv6 (the M flag).
// Nobody is to make an address of his own of it.
func Advertise(sender MAC, network netip.Prefix) []byte {
	message := make([]byte, 16)
	message[0], message[4] = RouterAdvertisement, 64 // type, hop limit for others
	if !network.IsValid() {
		return message
	}
	const managed, onLink = 0x80, 0x80
	message[5] = managed
	message = append(append(message, 1, 1), sender[:]...) // section 4.6.1: source link-layer address
	// Section 4.6.2: length in units of 8 bytes, prefix, flags, valid and
	// preferred lifetime, 4 bytes reserved. The lifetimes are the defaults of
	// section 6.2.1: nobody hears of us again unasked.
	message = append(message, 3, 4, byte(network.Bits()), onLink)
	message = binary.BigEndian.AppendUint32(message, uint32(30*24*time.Hour/time.Second))
	message = binary.BigEndian.AppendUint32(message, uint32(7*24*time.Hour/time.Second))
	prefix := network.Masked().Addr().As16()
	return append(append(message, 0, 0, 0, 0), prefix[:]...)
}

// LinkLocal is the address that an interface makes of its Ethernet address,
// RFC 4291 appendix A.
func LinkLocal(m MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// GroupMAC is the Ethernet address of a multicast address, RFC 2464 section 7.
func GroupMAC(a netip.Addr) MAC {
	b := a.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
