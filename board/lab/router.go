package lab

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
)

// iPXE solicits routers and waits for 16 s in vain on a link without IPv6,
// whatever DHCP has brought by then. Twice a second is often for a router, and
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

// advertisement is a frame of a router advertisement to all nodes, of one that
// is no default router and knows no prefix.
func advertisement() []byte {
	router := wire.MAC{0x52, 0x54, 0, 0xb0, 0x07, 0xfe}
	message := wire.Advertise(router, netip.Prefix{})
	return wire.ICMP6(router, wire.GroupMAC(wire.AllNodes), wire.LinkLocal(router), wire.AllNodes, message)
}
