package appliance

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/bootlace/bootlace/boot"
)

// urls knows the URLs under which a machine reaches us.
type urls struct {
	advertise netip.Addr        // for every machine, where it is valid
	links     []link            // at least one
	listen    map[string]string // addresses to listen on by protocol name; "" is off
}

// addrFor returns our address for the machine at `from`.
func (u *urls) addrFor(from netip.Addr) netip.Addr {
	if u.advertise.IsValid() {
		return u.advertise
	}
	for _, l := range u.links {
		for _, p := range l.prefixes {
			if p.Contains(from.Unmap()) {
				return p.Addr()
			}
		}
	}
	return u.links[0].addr()
}

// sources returns base URLs in a profile's order, without protocols that are
// off.
func (u *urls) sources(self netip.Addr, order []string) []string {
	var bases []string
	for _, proto := range order {
		if base := u.base(proto, self); base != "" {
			bases = append(bases, base)
		}
	}
	return bases
}

// base returns the URL of the root by one protocol. It ends in /. It is ""
// where the protocol is off or unknown.
func (u *urls) base(proto string, self netip.Addr) string {
	p, ok := boot.ProtocolByName(proto)
	listen := u.listen[proto]
	if !ok || listen == "" {
		return ""
	}
	return p.Name + "://" + hostPort(self, listen, p.Port) + "/"
}

// hostPort returns host and port of a URL, without the protocol's usual port.
func hostPort(self netip.Addr, listen string, usual uint16) string {
	_, port, _ := net.SplitHostPort(listen)
	if port != strconv.Itoa(int(usual)) {
		return net.JoinHostPort(self.String(), port)
	}
	if self.Is6() {
		return "[" + self.String() + "]"
	}
	return self.String()
}

func (u *urls) linkNames() (names []string) {
	for _, l := range u.links {
		names = append(names, l.name)
	}
	return names
}
