//go:build !linux

package tftp

import (
	"net"
	"net/netip"
)

// Elsewhere than on Linux a server answers from the address that the kernel
// picks: bind it to one address.
type local struct {
	addr    netip.Addr
	ifindex int
}

func askLocal(*net.UDPConn) error                { return nil }
func parseLocal([]byte) (local, bool)            { return local{}, true }
func (local) control() []byte                    { return nil }
func pathMTU(_ netip.Addr, _ netip.AddrPort) int { return defaultMTU }
func askRefused(*net.UDPConn)                    {}
