package appliance

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/bootlace/bootlace/boot"
)

// urls says where a machine reaches us, by which protocol.
type urls struct {
	advertise netip.Addr        // for all, where it is valid
	links     []link            // at least one
	listen    map[string]string // addresses of servers by name of boot.Protocols, "" is off
}

// addrFor is the address under which the machine at `from` reaches us.
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

// sources lists base URLs in a profile's order, without what is off.
func (u *urls) sources(self netip.Addr, order []string) []string {
	var bases []string
	for _, proto := range order {
		if base := u.base(proto, self); base != "" {
			bases = append(bases, base)
		}
	}
	return bases
}

// base is where a protocol serves the root. It ends in /, and is "" where the
// protocol is off or none of ours.
func (u *urls) base(proto string, self netip.Addr) string {
	p, ok := boot.ProtocolByName(proto)
	listen := u.listen[proto]
	if !ok || listen == "" {
		return ""
	}
	return p.Name + "://" + authority(self, listen, p.Port) + "/"
}

// authority is that of a URL: without the port where it is the usual one.
func authority(self netip.Addr, listen string, usual uint16) string {
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
