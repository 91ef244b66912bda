package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A task is what has to be done before a request can be answered.
type task int

const (
	nothing task = iota // it is not for us; why says so
	inform              // tell what it may boot
	offer               // and reserve an address for it
	bind                // and give it an address for good
	release
	decline
)

// task reads from a request what it wants of us.
func (q *request) task(mode Mode, us identity) (do task, why string) {
	if chosen := q.server(); chosen.IsValid() && chosen != us.addr {
		return nothing, "is for the server " + chosen.String()
	}
	mt := q.MessageType()
	switch {
	case q.port == portBINL:
		// PXE 2.1 section 2.2.5, the only message there.
		if mt != dhcpv4.MessageTypeRequest && mt != dhcpv4.MessageTypeInform || !q.Boots() {
			return nothing, "has no business on port 4011"
		}
		return inform, ""
	case mode == Proxy:
		if mt != dhcpv4.MessageTypeDiscover && mt != dhcpv4.MessageTypeInform {
			return nothing, "is for a server that gives addresses"
		}
		if !q.Boots() {
			return nothing, "does not ask for anything to boot"
		}
		return inform, ""
	}
	switch mt {
	case dhcpv4.MessageTypeDiscover:
		return offer, ""
	case dhcpv4.MessageTypeRequest:
		if !q.wants().IsValid() {
			return nothing, "names no address"
		}
		return bind, ""
	case dhcpv4.MessageTypeInform:
		return inform, ""
	case dhcpv4.MessageTypeRelease:
		return release, ""
	case dhcpv4.MessageTypeDecline:
		return decline, ""
	}
	return nothing, "is no message to a server"
}

// requested is the address in option 50.
func (q *request) requested() netip.Addr {
	return addr4(q.Options.Get(dhcpv4.OptionRequestedIPAddress))
}

// wants is the address a REQUEST, RELEASE or DECLINE is about. It is option 50,
// or ciaddr where the client uses it already (RFC 2131 section 4.3.6).
func (q *request) wants() netip.Addr {
	if a := q.requested(); a.IsValid() {
		return a
	}
	return addr4(q.ClientIPAddr)
}

// server is the server that the client chose, option 54.
func (q *request) server() netip.Addr {
	return addr4(q.Options.Get(dhcpv4.OptionServerIdentifier))
}

// confirms reports whether a client that boots takes an address.
func (q *request) confirms() bool {
	return q.Boots() && q.MessageType() == dhcpv4.MessageTypeRequest
}

// clientID is the client identifier, option 61, nil without one.
func (q *request) clientID() []byte {
	return bounded(q.Options.Get(dhcpv4.OptionClientIdentifier))
}

// skipsRequest reports whether it will use the address offered without asking for it.
func (q *request) skipsRequest() bool { return q.Loader != nil && q.Loader.NoRequest }

// delay is how long its answer has to wait.
func (q *request) delay() time.Duration {
	if q.Loader == nil {
		return 0
	}
	return q.Loader.Delay
}

// String says what came from whom: "DISCOVER from ipxe (arch 0) on eth0".
func (q *request) String() string {
	where := q.Interface
	if q.Relay.IsValid() {
		where += " through relay " + q.Relay.String()
	}
	return fmt.Sprintf("%s from %s on %s", q.MessageType(), q.Program(), where)
}

// event is what the journal is told of a request.
func (q *request) event(info boot.BootInfo, text string) boot.Event {
	return boot.Event{
		Machine: info.Machine, MAC: q.MAC, Kind: boot.KindDHCP, Proto: "dhcp", File: info.Bootfile,
		Text: q.String() + ": " + text,
	}
}
