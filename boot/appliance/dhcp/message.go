package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

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

// Layout of a message, RFC 2131 section 2.
const (
	snameAt, fileAt, cookieAt, optionsAt = 44, 108, 236, 240

	minMessage = 300 // RFC 1542 section 2.1: relays may drop what is shorter
)

// errBOOTP is a client of RFC 951: no DHCP message type.
var errBOOTP = errors.New("BOOTP, not DHCP")

// parse reads a message from a client. Options that overflowed into the file
// and sname fields (option 52) stand with the others.
func parse(raw []byte) (*dhcpv4.DHCPv4, error) {
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

// station reports whether an address can be one machine's beyond its own link:
// RFC 1122 section 3.2.1.3, and class E, which nobody has.
func station(a netip.Addr) bool {
	first := a.As4()[0]
	return a.IsGlobalUnicast() && first != 0 && first < 240
}

// Sizes of IP datagrams, of which a message gets what 20 bytes of IP and 8 of
// UDP leave.
const (
	headers     = 28
	minDatagram = 576  // every client takes this much, RFC 2131 section 2
	maxDatagram = 1500 // more would be fragments, whatever a client says: EDK2's REQUEST says 65280, its 255 in the wrong byte order
)

// room is how long a message the client takes (option 57, RFC 2132 section 9.10).
func room(p *dhcpv4.DHCPv4) int {
	size, err := p.MaxMessageSize()
	if err != nil {
		size = minDatagram
	}
	return min(max(int(size), minDatagram), maxDatagram) - headers
}

// leaveOut is what goes when a message is too long, the least missed first:
// 66 and 67 also stand in the header, option 61, 97 and 82 are echoes.
var leaveOut = []dhcpv4.OptionCode{
	optTFTPServers, optPxelinuxPrefix, optPxelinuxFile, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionHostName,
	dhcpv4.OptionBootfileName, dhcpv4.OptionDomainNameServer, dhcpv4.OptionClientIdentifier,
	dhcpv4.OptionClientMachineIdentifier, dhcpv4.OptionRelayAgentInformation,
}

// encode writes a message of at most limit bytes. Options stand in the order
// of their codes, but for two: 82 comes last (RFC 3046 section 2.1), and 67
// before it, since EDK2 ends the file name it found there by writing a zero
// over the byte that follows (PxeBcParseDhcp4Packet), which had better not be
// the code of an option that is read again.
func encode(p *dhcpv4.DHCPv4, limit int) []byte {
	header := *p
	header.Options = nil
	raw := header.ToBytes()[:optionsAt]
	options := make(dhcpv4.Options, len(p.Options))
	for code, value := range p.Options {
		options[code] = value
	}
	for _, code := range leaveOut {
		if len(raw)+length(options)+1 <= limit {
			break
		}
		if code == dhcpv4.OptionBootfileName && p.BootFileName == "" {
			continue
		}
		options.Del(code)
	}
	last := []uint8{dhcpv4.OptionBootfileName.Code(), dhcpv4.OptionRelayAgentInformation.Code()}
	var codes []uint8
	for code := range options {
		if !slices.Contains(last, code) {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	for _, code := range append(codes, last...) {
		if value, ok := options[code]; ok {
			raw = appendOption(raw, code, value)
		}
	}
	raw = append(raw, dhcpv4.OptionEnd.Code())
	if short := minMessage - len(raw); short > 0 {
		raw = append(raw, make([]byte, short)...)
	}
	return raw
}

// appendOption splits what is longer than 255 bytes, RFC 3396 section 5.
func appendOption(raw []byte, code uint8, value []byte) []byte {
	for {
		n := min(len(value), 255)
		raw = append(append(raw, code, byte(n)), value[:n]...)
		if value = value[n:]; len(value) == 0 {
			return raw
		}
	}
}

func length(options dhcpv4.Options) (n int) {
	for code, value := range options {
		n += len(appendOption(nil, code, value))
	}
	return n
}

// addr4 is the zero Addr for 0.0.0.0 and what is no IPv4 address.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func ip4(a netip.Addr) net.IP {
	if !a.Is4() {
		return net.IPv4zero.To4()
	}
	b := a.As4()
	return net.IP(b[:])
}
