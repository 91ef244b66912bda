package boot

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// A Request is a machine that asks what to boot: what one packet says of the
// machine, and how it came. The servers of DHCPv4 and DHCPv6 make it.
type Request struct {
	// Facts of the machine. MACs holds MAC alone. Board and Arch are those of
	// the board that the packet is recognised for, "" where none is.
	Facts
	Traits board.Traits  // of the program that sent the packet
	Loader *board.Loader // nil for a client that is no boot program we know
	Relay  netip.Addr    // giaddr, the zero Addr without a relay
	Link   netip.Addr    // of the machine, where giaddr is on another link (RFC 3527)
	Server netip.Addr    // the appliance, as this machine is told of it
}

// BootInfo is what a machine gets in answer to a Request.
type BootInfo struct {
	Machine  string // Machine.ID, for the journal
	Silent   bool   // no answer at all, whatever the mode
	Bootfile string // as served, a URL where the loader wants one; "": none
}

// NewRequest recognises the board and the loader of a packet. mac is the
// machine's, the zero MAC where it is not known.
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

// FromAgent reports whether it is our own firmware that asks.
func (r *Request) FromAgent() bool { return r.Traits.UserClass == board.AgentUserClass }

// Program names the program that asks, for the journal: "ipxe (arch 0)".
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
