package dhcp

import (
	"slices"

	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Sizes of IP datagrams in bytes. A message gets what the headers leave.
const (
	minDatagram = 576 // every client takes this much, RFC 2131 section 2
	// More would be fragments, whatever a client says. EDK2's REQUEST says 65280,
	// which is 255 in the wrong byte order.
	maxDatagram = 1500

	minMessage = 300 // RFC 1542 section 2.1: relays may drop what is shorter
)

// maxLength is how long a message the client takes (option 57, RFC 2132 section 9.10).
func maxLength(p *dhcpv4.DHCPv4) int {
	size, err := p.MaxMessageSize()
	if err != nil {
		size = minDatagram
	}
	return min(max(int(size), minDatagram), maxDatagram) - wire.IPv4Headers
}

// leaveOut is what goes when a message is too long, the least missed first.
// Options 66 and 67 also stand in the header. 61, 97 and 82 are echoes.
var leaveOut = []dhcpv4.OptionCode{
	optTFTPServers, optPxelinuxPrefix, optPxelinuxFile, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionHostName,
	dhcpv4.OptionBootfileName, dhcpv4.OptionDomainNameServer, dhcpv4.OptionClientIdentifier,
	dhcpv4.OptionClientMachineIdentifier, dhcpv4.OptionRelayAgentInformation,
}

// encode writes a message of at most limit bytes. Options stand in the order
// of their codes, but for two. 82 comes last (RFC 3046 section 2.1), and 67
// before it. EDK2 ends the file name it found there by writing a zero over the
// byte that follows (PxeBcParseDhcp4Packet). That must not be the code of an
// option that is read again.
func encode(p *dhcpv4.DHCPv4, limit int) []byte {
	header := *p
	header.Options = nil
	raw := header.ToBytes()[:optionsAt]
	options := make(dhcpv4.Options, len(p.Options))
	for code, value := range p.Options {
		options[code] = value
	}
	for _, code := range leaveOut {
		if len(raw)+encodedLength(options)+1 <= limit {
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

func encodedLength(options dhcpv4.Options) (n int) {
	for code, value := range options {
		n += len(appendOption(nil, code, value))
	}
	return n
}
