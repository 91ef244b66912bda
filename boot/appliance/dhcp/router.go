package dhcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A router tells machines that solicit one (RFC 4861 section 6.1.1) that there
// is none, where that is so. iPXE waits 13 to 16 s for a router on a link
// without IPv6, whatever DHCP has brought by then; an advertisement with a
// router lifetime of 0 and no prefix ends the wait and changes nothing: its
// sender is no default router, and there is no address to be made from it.
//
// Where there are addresses by DHCPv6 it says that (the M flag), and which
// network is on the link, of which nobody is to make addresses himself; still
// it is no default router.
//
// It answers who asks, and only him; it advertises nothing of its own accord.
// Where another router is heard it is silent.
type router struct {
	wire *wire
	f    *os.File // reads from wire with deadlines
	mac  boot.MAC
	addr netip.Addr
	six  *lease.Subnet // whose addresses we give by DHCPv6, or nil
}

// ICMPv6 messages, RFC 4861 section 4.
const (
	routerSolicitation  = 133
	routerAdvertisement = 134
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// openRouter opens a packet socket, so that it works where the interface has
// IPv6 switched off.
func openRouter(ifi *net.Interface) (*router, error) {
	w, err := openWire(ifi, unix.ETH_P_IPV6)
	if err != nil {
		return nil, err
	}
	r := &router{wire: w, mac: w.mac, addr: linkLocal(w.mac)}
	if err := r.filter(); err != nil {
		w.Close()
		return nil, fmt.Errorf("dhcp: hear routers on %s: %w", ifi.Name, err)
	}
	r.f = os.NewFile(uintptr(w.fd), "packet")
	return r, nil
}

// filter lets through solicitations and advertisements, and asks the card for
// the groups they are sent to.
func (r *router) filter() error {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 20, Size: 2}, // next header and hop limit
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 58<<8 | 255, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 54, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: routerSolicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: routerAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: maxMessage},
		bpf.RetConstant{Val: 0},
	}
	if err := r.wire.attach(program); err != nil {
		return err
	}
	for _, group := range []netip.Addr{allNodes, allRouters} {
		m := unix.PacketMreq{Ifindex: int32(r.wire.index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		to := groupMAC(group)
		copy(m.Address[:], to[:])
		if err := unix.SetsockoptPacketMreq(r.wire.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return err
		}
	}
	return nil
}

// Run answers until ctx ends; what it learns of other routers it logs through said.
func (r *router) Run(ctx context.Context, timing Timing, said func(string)) error {
	defer r.f.Close()
	defer context.AfterFunc(ctx, func() { r.f.SetReadDeadline(time.Unix(1, 0)) })()
	// Ask before answering. Asked was when a router could last have told us
	// that it is there, who has no reason to tell all.
	r.solicit()
	asked, other := time.Now(), time.Time{}
	listened := asked.Add(timing.RouterWait)
	buf := make([]byte, maxMessage)
	for {
		n, err := r.f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(timing.Pause): // ENETDOWN: until the link is back
			}
			continue
		}
		from, addr, kind, ok := unframe6(buf[:n])
		now := time.Now()
		switch {
		case !ok || from == r.mac:
		case kind == routerAdvertisement:
			if now.After(other) {
				said("an IPv6 router is here, " + addr.String() + ": it answers who asks for one")
			}
			other = now.Add(timing.RouterQuiet)
		case now.After(listened) && now.After(other):
			r.answer(from, addr)
			if now.After(asked.Add(timing.RouterAsk)) {
				asked = now
				r.solicit() // one may have come since
			}
		}
	}
}

func (r *router) solicit() {
	r.send(groupMAC(allRouters), allRouters, []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0})
}

// answer tells the machine at from that there is no router. What could not be
// sent is not sent again: the machine asks again.
func (r *router) answer(from boot.MAC, addr netip.Addr) {
	icmp := advertisement(r.mac, r.six)
	if addr.IsUnspecified() {
		from, addr = groupMAC(allNodes), allNodes
	}
	r.send(from, addr, icmp)
}

// advertisement is the message of RFC 4861 section 4.2, all times 0.
func advertisement(mac boot.MAC, n *lease.Subnet) []byte {
	icmp := make([]byte, 16)
	icmp[0], icmp[4] = routerAdvertisement, 64
	if n == nil {
		return icmp
	}
	const managed, onLink = 0x80, 0x80
	icmp[5] = managed
	icmp = append(append(icmp, 1, 1), mac[:]...) // section 4.6.1: source link-layer address
	// Section 4.6.2: length in units of 8 bytes, prefix, flags, valid and
	// preferred lifetime, 4 bytes reserved. The times are those that section
	// 6.2.1 gives where nothing else is said; nobody hears of us again unasked.
	icmp = append(icmp, 3, 4, byte(n.Prefix.Bits()), onLink)
	icmp = append(append(icmp, seconds(30*24*time.Hour)...), seconds(7*24*time.Hour)...)
	prefix := n.Prefix.Masked().Addr().As16()
	return append(append(icmp, 0, 0, 0, 0), prefix[:]...)
}

func (r *router) send(dst boot.MAC, to netip.Addr, icmp []byte) error {
	ll := unix.SockaddrLinklayer{Ifindex: r.wire.index, Halen: 6}
	copy(ll.Addr[:], dst[:])
	return unix.Sendto(r.wire.fd, frame6(r.mac, dst, r.addr, to, icmp), 0, &ll)
}

// frame6 builds an Ethernet frame (RFC 2464) of an IPv6 packet (RFC 8200) of
// an ICMPv6 message, and fills in the message's checksum.
func frame6(src, dst boot.MAC, from, to netip.Addr, icmp []byte) []byte {
	source, dest := from.As16(), to.As16()
	// RFC 4443 section 2.3: over the addresses, the length, the protocol and it.
	s := uint32(len(icmp)) + 58
	for i := 0; i < 16; i += 2 {
		s += uint32(binary.BigEndian.Uint16(source[i:])) + uint32(binary.BigEndian.Uint16(dest[i:]))
	}
	icmp[2], icmp[3] = 0, 0
	binary.BigEndian.PutUint16(icmp[2:], ^sum(s, icmp))

	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255) // hop limit 255, or it is not believed
	b = append(append(b, source[:]...), dest[:]...)
	return append(b, icmp...)
}

// unframe6 reads a frame that came through the filter. One with a wrong
// checksum, or cut short, is not ok.
func unframe6(b []byte) (src boot.MAC, from netip.Addr, kind byte, ok bool) {
	const icmpAt = 14 + 40
	if len(b) < icmpAt+8 || binary.BigEndian.Uint16(b[12:]) != 0x86dd || b[20] != 58 || b[21] != 255 {
		return src, from, 0, false
	}
	n := int(binary.BigEndian.Uint16(b[18:]))
	if n < 8 || icmpAt+n > len(b) {
		return src, from, 0, false
	}
	if sum(uint32(n)+58+uint32(sum(0, b[22:icmpAt])), b[icmpAt:icmpAt+n]) != 0xffff {
		return src, from, 0, false
	}
	return boot.MAC(b[6:12]), netip.AddrFrom16([16]byte(b[22:38])), b[icmpAt], true
}

// linkLocal is the address that an interface makes of its Ethernet address,
// RFC 4291 appendix A.
func linkLocal(m boot.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// groupMAC is where a multicast address is sent to, RFC 2464 section 7.
func groupMAC(a netip.Addr) boot.MAC {
	b := a.As16()
	return boot.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
