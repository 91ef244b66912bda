package boot

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// A Request is what one DHCP packet says about a machine, and how the packet
// came. The servers of DHCPv4 and DHCPv6 make it.
type Request struct {
	// Facts has what the packet says. MACs holds only MAC. Board and Arch are
	// "" where no board is recognised.
	Facts
	Traits board.Traits  // of the program that sent the packet
	Loader *board.Loader // nil where the client is no boot loader we know
	Relay  netip.Addr    // giaddr, the zero Addr without a relay
	Link   netip.Addr    // the machine's link, where giaddr is on another one (RFC 3527)
	Server netip.Addr    // the appliance's address for this machine
}

// BootInfo is the answer to a Request.
type BootInfo struct {
	Machine  string // Machine.ID, for the journal
	Silent   bool   // the machine gets no answer, whatever the mode
	Bootfile string // the served name, or a URL where the loader wants one; "": none
}

// NewRequest recognises the board and the loader of a packet. mac is the
// machine's, the zero MAC where it is unknown.
func NewRequest(t board.Traits, mac MAC) Request {
	t.MAC = mac[:]
	r := Request{Traits: t}
	if r.MAC = mac; mac != (MAC{}) {
		r.MACs = []MAC{mac}
	}
	if len(t.GUID) == len(UUID{}) {
		if id := UUID(t.GUID); id.Known() {
			r.UUID = &id
		}
	}
	var b *board.Board
	if b, r.Loader = board.Recognise(t); b != nil {
		r.Board, r.Arch = b.Name, b.Arch
	}
	return r
}

// Boots reports whether the client asks for something to boot.
func (r *Request) Boots() bool {
	return r.Loader != nil || r.Traits.Client != board.ClientUnknown ||
		strings.HasPrefix(r.Traits.VendorClass, board.PXEClass) || strings.HasPrefix(r.Traits.VendorClass, board.HTTPClass)
}

// FromAgent reports whether the client is our own firmware.
func (r *Request) FromAgent() bool { return r.Traits.UserClass == board.AgentUserClass }

// Program names the client for the journal: "ipxe (arch 0)".
func (r *Request) Program() string {
	name := "a DHCP client"
	switch {
	case r.Loader != nil:
		name = r.Loader.Name
	case r.Boots():
		name = "an unknown loader " + strconv.Quote(r.Traits.VendorClass[:min(len(r.Traits.VendorClass), 40)])
	}
	if r.Traits.Client != board.ClientUnknown {
		name += fmt.Sprintf(" (arch %d)", r.Traits.Client)
	}
	return name
}
