package dhcp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A Hearing is what a packet says of the machine that sent it and how it came.
type Hearing struct {
	MAC       boot.MAC
	Traits    board.Traits
	Board     *board.Board  // nil where nothing in the table fits
	Loader    *board.Loader // nil for a client that is no boot program we know
	UUID      *boot.UUID    // nil where option 97 is missing or tells nobody apart
	Interface string        // on which it was heard
	Circuit   string        // the relay's circuit ID (RFC 3046 section 3.1), as text
	Relay     netip.Addr    // giaddr, the zero Addr without a relay
	Link      netip.Addr    // the machine's link, where a relay says that giaddr is on another (RFC 3527)
	Next      netip.Addr    // the appliance, as this machine is told of it
}

// A Reply is what Decide wants the machine to get.
type Reply struct {
	Machine  string // boot.Machine.ID, for the journal
	Silent   bool   // no answer at all, whatever the mode
	Bootfile string // as served, a URL where the loader wants one; "": none
	Profile  string // for the journal
}

// A request is a message and how it came.
type request struct {
	*dhcpv4.DHCPv4
	Hearing
	From netip.AddrPort
	Port uint16 // ours, to which it came
}

// Our ports, and the client's: RFC 2131 section 4.1, PXE 2.1 section 2.2.
const (
	portServer = 67
	portClient = 68
	portBINL   = 4011
)

// hear reads a packet; it looks at nothing else.
func hear(p *dhcpv4.DHCPv4, iface string, from netip.AddrPort, port uint16) *request {
	q := &request{DHCPv4: p, From: from, Port: port}
	q.MAC = boot.MAC(p.ClientHWAddr)
	q.Interface = iface
	q.Relay = addr4(p.GatewayIPAddr)
	q.Traits = board.Traits{
		Client:      board.ClientUnknown,
		UserClass:   userClass(p.Options.Get(dhcpv4.OptionUserClassInformation)),
		VendorClass: string(p.Options.Get(dhcpv4.OptionClassIdentifier)),
		IPXE:        p.Options.Get(optIPXE),
		MAC:         q.MAC[:],
	}
	q.Traits.NIC = pciVendor(q.Traits.IPXE)
	// RFC 4578 section 2.1: one or more types; the first is the one that boots.
	if v := p.Options.Get(dhcpv4.OptionClientSystemArchitectureType); len(v) >= 2 {
		q.Traits.Client = board.Client(uint16(v[0])<<8 | uint16(v[1]))
	}
	// RFC 4578 section 2.3: a type byte, of which 0 is the only one, and a UUID.
	if v := p.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(v) == 17 && v[0] == 0 {
		q.Traits.GUID = v[1:]
		if id := boot.UUID(v[1:]); id.Known() {
			q.UUID = &id
		}
	}
	if info := p.RelayAgentInfo(); info != nil {
		q.Circuit = text(bounded(info.Options.Get(dhcpv4.AgentCircuitIDSubOption)))
		if q.Relay.IsValid() {
			q.Link = addr4(info.Options.Get(dhcpv4.LinkSelectionSubOption))
		}
	}
	q.Board, q.Loader = board.Recognise(q.Traits)
	return q
}

// pciVendor reads iPXE's option 175: of its sub-options 177 is the network
// card's bus, 1 for PCI, vendor and device. 0: it does not say.
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

// userClass reads option 77, RFC 3004 section 4: one or more classes, each
// after a byte with its length, of which the first counts. iPXE and others
// send the text alone; no text begins with its own length.
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
// options of one code to a longer one; what is remembered of strangers is not
// to have the size of their packets.
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

// boots reports whether the client asks for something to boot.
func (h *Hearing) boots() bool {
	return h.Loader != nil || h.Traits.Client != board.ClientUnknown ||
		strings.HasPrefix(h.Traits.VendorClass, pxeClient) || strings.HasPrefix(h.Traits.VendorClass, httpClient)
}

// agent reports whether it is our own firmware.
func (q *request) agent() bool { return q.Traits.UserClass == board.UserClass }

// noRequest reports whether it will use the address offered without asking for it.
func (q *request) noRequest() bool { return q.Loader != nil && q.Loader.NoRequest }

// delay is how long its answer has to wait.
func (q *request) delay() time.Duration {
	if q.Loader == nil {
		return 0
	}
	return q.Loader.Delay
}

// requested is the address in option 50.
func (q *request) requested() netip.Addr {
	return addr4(q.Options.Get(dhcpv4.OptionRequestedIPAddress))
}

// server is the server that the client chose, option 54.
func (q *request) server() netip.Addr {
	return addr4(q.Options.Get(dhcpv4.OptionServerIdentifier))
}

// who says in words what program it is: "ipxe (arch 0)".
func (h *Hearing) who() string {
	who := "a DHCP client"
	switch {
	case h.Loader != nil:
		who = h.Loader.Name
	case h.boots():
		who = "an unknown loader " + strconv.Quote(h.Traits.VendorClass[:min(len(h.Traits.VendorClass), 40)])
	}
	if h.Traits.Client != board.ClientUnknown {
		who += fmt.Sprintf(" (arch %d)", h.Traits.Client)
	}
	return who
}

// String says what came from whom: "DISCOVER from ipxe (arch 0) on eth0".
func (q *request) String() string {
	where := q.Interface
	if q.Relay.IsValid() {
		where += " through relay " + q.Relay.String()
	}
	return fmt.Sprintf("%s from %s on %s", q.MessageType(), q.who(), where)
}

// id is the client identifier, option 61, nil without one.
func (q *request) id() []byte { return bounded(q.Options.Get(dhcpv4.OptionClientIdentifier)) }
