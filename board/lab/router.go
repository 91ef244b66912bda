package lab

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// iPXE solicits routers and waits for 16 s in vain on a link without IPv6,
// whatever DHCP has brought by then. Twice a second is often for a router and
// cheap here.
const advertiseEvery = 500 * time.Millisecond

// Advertise tells the NIC at this end, until ctx ends, what a router on most
// networks would: here is IPv6, without addresses and without a way out.
func (e End) Advertise(ctx context.Context) {
	frame := advertisement()
	tick := time.NewTicker(advertiseEvery)
	defer tick.Stop()
	for {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: e.local, Net: "unixgram"})
		if err == nil { // else the machine is off
			conn.SetWriteDeadline(time.Now().Add(portPatience))
			conn.Write(frame)
			conn.Close()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// advertisement is an Ethernet frame with a router advertisement (RFC 4861
// section 4.2) to all nodes: no flags, a router lifetime of 0, which is not a
// default router, and no prefix.
func advertisement() []byte {
	from := netip.MustParseAddr("fe80::5054:ff:feb0:7fe").As16()
	to := netip.MustParseAddr("ff02::1").As16()
	icmp := make([]byte, 16)
	icmp[0], icmp[4] = 134, 64 // type, hop limit for others
	// RFC 4443 section 2.3: over the addresses, the length, the protocol and it.
	sum := uint32(len(icmp)) + 58
	for _, part := range [][]byte{from[:], to[:], icmp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sum))

	frame := []byte{
		0x33, 0x33, 0, 0, 0, 1, // RFC 2464 section 7
		0x52, 0x54, 0, 0xb0, 0x07, 0xfe,
		0x86, 0xdd,
		0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255, // RFC 8200 section 3; hop limit 255 or it is not believed
	}
	frame = append(append(frame, from[:]...), to[:]...)
	return append(frame, icmp...)
}
