package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
)

// frame builds an Ethernet frame (RFC 894) of an IPv4 datagram (RFC 791) of a
// UDP message (RFC 768). The kernel would ask by ARP for the address of a
// client that has none yet.
func frame(src, dst boot.MAC, from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 0, 14+headers+len(payload))
	b = append(append(b, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, 0x0800)

	source, dest := from.Addr().As4(), to.Addr().As4()
	b = append(b, 0x45, 0) // version 4, five words; no special service
	b = binary.BigEndian.AppendUint16(b, uint16(headers+len(payload)))
	b = append(b, 0, 0, 0x40, 0) // no identification; don't fragment
	b = append(b, 64, 17, 0, 0)  // TTL, UDP, checksum
	b = append(append(b, source[:]...), dest[:]...)
	ip := b[14:34]
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))

	length := uint16(8 + len(payload))
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(append(b, 0, 0), payload...)
	// RFC 768: over a pseudo header of addresses, protocol and length; 0 would say there is none.
	pseudo := uint32(17) + uint32(length)
	for _, half := range [][]byte{source[:2], source[2:], dest[:2], dest[2:]} {
		pseudo += uint32(binary.BigEndian.Uint16(half))
	}
	check := ^sum(pseudo, b[34:])
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[40:], check)
	return b
}

// sum adds up 16-bit words in ones' complement, RFC 1071.
func sum(s uint32, b []byte) uint16 {
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

var errNotOurs = errors.New("not a UDP message of that port")

// unframe takes the UDP message to port out of an Ethernet frame.
func unframe(b []byte, port uint16) (payload []byte, from netip.AddrPort, err error) {
	if len(b) < 34 || binary.BigEndian.Uint16(b[12:]) != 0x0800 || b[14]>>4 != 4 || b[23] != 17 {
		return nil, from, errNotOurs
	}
	ip := b[14:]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if head < 20 || total < head+8 || total > len(ip) || fragment {
		return nil, from, errNotOurs
	}
	udp := ip[head:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != port || length < 8 || length > len(udp) {
		return nil, from, errNotOurs
	}
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp))
	return udp[8:length], from, nil
}
