package tftp

import "net/netip"

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// samePeer compares without zones, which may be names or numbers. A socket
// bound to a link hears that link alone.
func samePeer(a, b netip.AddrPort) bool { return a.Port() == b.Port() && sameAddr(a.Addr(), b.Addr()) }

func sameAddr(a, b netip.Addr) bool { return a.WithZone("") == b.WithZone("") }

func network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// largestBlksize is the largest block that crosses a path without fragments:
// its MTU less the headers of IP (20 or 40 bytes), UDP (8) and DATA (4).
func largestBlksize(mtu int, a netip.Addr) int {
	if a.Is4() {
		return max(mtu-32, minBlksize)
	}
	return max(mtu-52, minBlksize)
}
