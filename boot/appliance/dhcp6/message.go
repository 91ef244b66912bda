package dhcp6

import (
	"fmt"
	"net/netip"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A request is a message, what it says of its machine, and who sent it.
type request struct {
	*dhcpv6.Message
	boot.Request
	from netip.AddrPort
	ias  []*dhcpv6.OptIANA
}

const (
	// intel is the enterprise number with which PXE and HTTP clients say what
	// they are in option 16, and want an answer (UEFI 2.10 section 24.7.3.1).
	intel = 343
	// maxAddresses bounds what one message is about. Clients ask for one.
	maxAddresses = 4
	// maxIdentifier is the longest DUID in bytes, RFC 8415 section 11.1.
	maxIdentifier = 130
)

// parse reads a message and holds it against RFC 8415 section 16. us is our own
// identifier.
func parse(raw []byte, iface string, from netip.AddrPort, us dhcpv6.DUID) (*request, error) {
	m, err := dhcpv6.MessageFromBytes(raw)
	if err != nil {
		return nil, err
	}
	// The socket is of one interface: the zone says nothing more.
	from = netip.AddrPortFrom(from.Addr().WithZone(""), from.Port())
	q := &request{Message: m, from: from, ias: m.Options.IANA()}
	if err := q.check(us); err != nil {
		return nil, err
	}
	traits := board.Traits{Client: board.ClientUnknown}
	if types := m.Options.ArchTypes(); len(types) > 0 {
		traits.Client = board.Client(types[0])
	}
	if classes := m.Options.UserClasses(); len(classes) > 0 {
		traits.UserClass = string(classes[0])
	}
	if class := m.Options.VendorClass(intel); len(class) > 0 {
		traits.VendorClass = string(class[0])
	}
	if d, ok := m.Options.ClientID().(*dhcpv6.DUIDUUID); ok {
		traits.GUID = d.UUID[:] // RFC 6355; the same bytes as in option 97
	}
	q.Request = boot.NewRequest(traits, macOf(from.Addr()))
	q.Interface = iface
	return q, nil
}

// check reports why a message is not to be answered.
func (q *request) check(us dhcpv6.DUID) error {
	client, server := q.Options.ClientID(), q.Options.ServerID()
	ours, ok := server != nil && server.Equal(us), false
	switch q.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		ok = client != nil && server == nil
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		ok = client != nil && ours
	case dhcpv6.MessageTypeInformationRequest:
		ok = (server == nil || ours) && len(q.ias) == 0
	}
	switch {
	case !ok:
		return fmt.Errorf("%s with client identifier %v and server %v", q.MessageType, client, server)
	case !q.from.Addr().IsLinkLocalUnicast(): // section 13.1; so nobody can point us at others
		return fmt.Errorf("%s is no link-local address", q.from)
	case len(q.ias) > maxAddresses || len(addresses(q.ias...)) > maxAddresses || client != nil && len(client.ToBytes()) > maxIdentifier:
		return fmt.Errorf("it asks for more than %d addresses, or its identifier is too long", maxAddresses)
	}
	return nil
}

// macOf is the Ethernet address of a machine with a link-local address, the
// zero MAC where that does not tell. Firmware makes the one of the other (RFC
// 4291 appendix A). Operating systems often do not.
func macOf(a netip.Addr) boot.MAC {
	b := a.As16()
	mac := boot.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}
	if wire.LinkLocal(mac) != a || !mac.Station() {
		return boot.MAC{}
	}
	return mac
}

// addresses lists those in IA_NAs of a request.
func addresses(ias ...*dhcpv6.OptIANA) (all []netip.Addr) {
	for _, ia := range ias {
		for _, o := range ia.Options.Addresses() {
			if a, ok := netip.AddrFromSlice(o.IPv6Addr); ok {
				all = append(all, a)
			}
		}
	}
	return all
}

// String says what came from whom: "SOLICIT from uefi-pxe (arch 7) on eth0".
func (q *request) String() string {
	return fmt.Sprintf("%s from %s on %s", q.MessageType, q.Program(), q.Interface)
}
