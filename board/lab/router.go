package lab

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
)

// advertiseEvery is often for a router, and cheap here. On a link without IPv6
// iPXE waits 16 s in vain for a router, whatever DHCP has brought by then.
const advertiseEvery = 500 * time.Millisecond

// Advertise sends router advertisements to the NIC at this end until ctx ends. They
// say that there is IPv6, without addresses and without a default router.
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

// advertisement is a frame to all nodes, from a router that is no default router
// and knows no prefix.
func advertisement() []byte {
	router := wire.MAC{0x52, 0x54, 0, 0xb0, 0x07, 0xfe}
	message := wire.Advertise(router, netip.Prefix{})
	return wire.ICMP6(router, wire.GroupMAC(wire.AllNodes), wire.LinkLocal(router), wire.AllNodes, message)
}
