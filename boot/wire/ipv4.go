package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Lengths of headers in bytes.
const (
	ethernetHeader = 14
	ipv4Header     = 20 // without options
	udpHeader      = 8

	// IPv4Headers is what IPv4 and UDP take of a datagram.
	IPv4Headers = ipv4Header + udpHeader
)

const protocolUDP = 17 // RFC 768

// UDP4 builds an Ethernet frame (RFC 894) of an IPv4 datagram (RFC 791) of a
// UDP message (RFC 768). A client that has no address yet needs one: a socket
// would ask for its address by ARP, in vain.
func UDP4(src, dst MAC, from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 0, ethernetHeader+IPv4Headers+len(payload))
	b = append(append(b, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, IPv4)

	source, dest := from.Addr().As4(), to.Addr().As4()
	b = append(b, 0x45, 0) // version 4, five words; no special service
	b = binary.BigEndian.AppendUint16(b, uint16(IPv4Headers+len(payload)))
	b = append(b, 0, 0, 0x40, 0)         // no identification; don't fragment
	b = append(b, 64, protocolUDP, 0, 0) // TTL, protocol, checksum
	b = append(append(b, source[:]...), dest[:]...)
	ip := b[ethernetHeader : ethernetHeader+ipv4Header]
	binary.BigEndian.PutUint16(ip[10:], ^Sum(0, ip))

	const udpAt = ethernetHeader + ipv4Header
	length := uint16(udpHeader + len(payload))
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(append(b, 0, 0), payload...)
	// The sum is over the addresses, protocol and length too. A sum of 0 would
	// say that there is none (RFC 768).
	pseudo := uint32(protocolUDP) + uint32(length) + uint32(Sum(0, source[:])) + uint32(Sum(0, dest[:]))
	check := ^Sum(pseudo, b[udpAt:])
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[udpAt+6:], check)
	return b
}

// Sum adds up 16-bit words in ones' complement, RFC 1071. It begins with s,
// and pads an odd last byte with zero.
func Sum(s uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// ErrOther is returned for a frame that holds something else.
var ErrOther = errors.New("not a UDP message of that port")

// ParseUDP4 takes the UDP message to a port out of an Ethernet frame. It
// returns ErrOther where there is none. The payload shares the frame's memory.
func ParseUDP4(frame []byte, port uint16) (payload []byte, from netip.AddrPort, err error) {
	if len(frame) < ethernetHeader+ipv4Header || binary.BigEndian.Uint16(frame[12:]) != IPv4 {
		return nil, from, ErrOther
	}
	ip := frame[ethernetHeader:]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	switch {
	case ip[0]>>4 != 4, ip[9] != protocolUDP, fragment:
		return nil, from, ErrOther
	case head < ipv4Header, total < head+udpHeader, total > len(ip):
		return nil, from, ErrOther
	}
	udp := ip[head:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != port || length < udpHeader || length > len(udp) {
		return nil, from, ErrOther
	}
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp))
	return udp[udpHeader:length], from, nil
}
