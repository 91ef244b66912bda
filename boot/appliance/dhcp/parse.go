package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Options that the codec has no name for.
const (
	optTFTPServers    = dhcpv4.GenericOptionCode(150) // RFC 5859
	optIPXE           = dhcpv4.GenericOptionCode(175) // https://ipxe.org/howto/dhcpd
	optPxelinuxFile   = dhcpv4.GenericOptionCode(209) // RFC 5071
	optPxelinuxPrefix = dhcpv4.GenericOptionCode(210)
)

// Offsets in a message, RFC 2131 section 2.
const snameAt, fileAt, cookieAt, optionsAt = 44, 108, 236, 240

// errBOOTP is a client of RFC 951: it sends no DHCP message type.
var errBOOTP = errors.New("BOOTP, not DHCP")

// A request is a message, what it says of its machine, and how it came.
type request struct {
	*dhcpv4.DHCPv4
	boot.Request
	from netip.AddrPort
	port uint16 // ours, to which it came
}

// parse reads a packet that came to a port of an interface.
func parse(raw []byte, iface string, from netip.AddrPort, port uint16) (*request, error) {
	p, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return read(p, iface, from, port), nil
}

// decode reads a message from a client. Options that overflowed into the file
// and sname fields (option 52) stand with the others.
func decode(raw []byte) (*dhcpv4.DHCPv4, error) {
	if len(raw) < optionsAt || !bytes.Equal(raw[cookieAt:optionsAt], []byte{99, 130, 83, 99}) {
		if len(raw) >= cookieAt && raw[0] == byte(dhcpv4.OpcodeBootRequest) {
			return nil, errBOOTP
		}
		return nil, errors.New("no DHCP message")
	}
	p, err := dhcpv4.FromBytes(raw)
	if err != nil {
		return nil, err
	}
	if v := p.Options.Get(dhcpv4.OptionOptionOverload); len(v) == 1 {
		// RFC 2131 section 4.1: the file field is read before sname.
		if v[0]&1 != 0 {
			p.BootFileName = ""
			if err := p.Options.FromBytes(raw[fileAt:cookieAt]); err != nil {
				return nil, fmt.Errorf("options in file: %w", err)
			}
		}
		if v[0]&2 != 0 {
			p.ServerHostName = ""
			if err := p.Options.FromBytes(raw[snameAt:fileAt]); err != nil {
				return nil, fmt.Errorf("options in sname: %w", err)
			}
		}
	}
	switch {
	case p.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, fmt.Errorf("op %d is not a request", p.OpCode)
	case p.HWType != iana.HWTypeEthernet || len(p.ClientHWAddr) != 6:
		return nil, fmt.Errorf("hardware type %d with an address of %d bytes is not Ethernet", p.HWType, len(p.ClientHWAddr))
	case !boot.MAC(p.ClientHWAddr).Station():
		return nil, fmt.Errorf("%s is nobody's address", p.ClientHWAddr)
	case addr4(p.GatewayIPAddr).IsValid() && !station(addr4(p.GatewayIPAddr)):
		return nil, fmt.Errorf("giaddr %s is no relay's address", p.GatewayIPAddr)
	case p.MessageType() == dhcpv4.MessageTypeNone:
		return nil, errBOOTP
	}
	return p, nil
}

// station reports whether an address can be one machine's beyond its own link
// (RFC 1122 section 3.2.1.3). Nobody has one of class E.
func station(a netip.Addr) bool {
	first := a.As4()[0]
	return a.IsGlobalUnicast() && first != 0 && first < 240
}

// read tells from a message what is known of its machine.
func read(p *dhcpv4.DHCPv4, iface string, from netip.AddrPort, port uint16) *request {
	traits := board.Traits{
		Client:      board.ClientUnknown,
		UserClass:   userClass(p.Options.Get(dhcpv4.OptionUserClassInformation)),
		VendorClass: string(p.Options.Get(dhcpv4.OptionClassIdentifier)),
		IPXE:        p.Options.Get(optIPXE),
	}
	traits.NIC = pciVendor(traits.IPXE)
	// RFC 4578 section 2.1: one or more types. The first is the one that boots.
	if v := p.Options.Get(dhcpv4.OptionClientSystemArchitectureType); len(v) >= 2 {
		traits.Client = board.Client(uint16(v[0])<<8 | uint16(v[1]))
	}
	// RFC 4578 section 2.3: a type byte, of which 0 is the only one, and a UUID.
	if v := p.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(v) == 17 && v[0] == 0 {
		traits.GUID = v[1:]
	}
	q := &request{DHCPv4: p, Request: boot.NewRequest(traits, boot.MAC(p.ClientHWAddr)), from: from, port: port}
	q.Interface = iface
	q.Relay = addr4(p.GatewayIPAddr)
	if info := p.RelayAgentInfo(); info != nil {
		q.Circuit = text(bounded(info.Options.Get(dhcpv4.AgentCircuitIDSubOption)))
		if q.Relay.IsValid() {
			q.Link = addr4(info.Options.Get(dhcpv4.LinkSelectionSubOption))
		}
	}
	return q
}

// pciVendor reads iPXE's option 175. Its sub-option 177 is the network card's
// bus, 1 for PCI, vendor and device. 0: it does not say.
func pciVendor(v []byte) uint16 {
	for len(v) >= 2 {
		code, n := v[0], int(v[1])
		if v = v[2:]; n > len(v) {
			return 0
		}
		if code == 177 && n == 5 && v[0] == 1 {
			return uint16(v[1])<<8 | uint16(v[2])
		}
		v = v[n:]
	}
	return 0
}

// userClass reads option 77, RFC 3004 section 4: classes, each after a byte with
// its length. The first counts. iPXE and others send the text alone. No text
// begins with its own length.
func userClass(v []byte) string {
	var first []byte
	for rest := v; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n >= len(rest) {
			return string(v)
		}
		if first == nil {
			first = rest[1 : 1+n]
		}
		rest = rest[1+n:]
	}
	return string(first)
}

// bounded is v, or nil where it is longer than one option holds. RFC 3396 joins
// options of one code to a longer one. What is remembered of strangers must not
// grow with their packets.
func bounded(v []byte) []byte {
	if len(v) > 255 {
		return nil
	}
	return v
}

// text is v itself if it can be read, else its bytes in hex.
func text(v []byte) string {
	for _, c := range v {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%x", v)
		}
	}
	return string(v)
}

// addr4 is the zero Addr for 0.0.0.0 and what is no IPv4 address.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
