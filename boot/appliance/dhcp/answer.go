package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A Mode says whether we give addresses.
type Mode string

// The modes. Both make the same answer; a ProxyDHCP's lacks the address and
// what belongs to it, which another server gives.
const (
	Proxy Mode = "proxy"
	Full  Mode = "full"
)

// VendorClass in option 60 of an answer tells our own agent that this offer is
// the appliance's, whose address is siaddr (else option 54), in both modes.
const VendorClass = board.UserClass

// What firmware says in option 60, and wants to hear there (PXE 2.1 section
// 2.2.3, UEFI 2.10 section 24.7.3.1).
const (
	pxeClient  = "PXEClient"
	httpClient = "HTTPClient"
)

// self is the appliance as the clients of one link know it.
type self struct {
	addr netip.Addr // option 54, and the source of what we send
	next netip.Addr // siaddr: where the files and port 4011 are
}

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
func (q *request) task(mode Mode, me self) (do task, why string) {
	if chosen := q.server(); chosen.IsValid() && chosen != me.addr {
		return nothing, "is for the server " + chosen.String()
	}
	mt := q.MessageType()
	switch {
	case q.Port == portBINL:
		// PXE 2.1 section 2.2.5, the only message there.
		if mt != dhcpv4.MessageTypeRequest && mt != dhcpv4.MessageTypeInform || !q.boots() {
			return nothing, "has no business on port 4011"
		}
		return inform, ""
	case mode == Proxy:
		if mt != dhcpv4.MessageTypeDiscover && mt != dhcpv4.MessageTypeInform {
			return nothing, "is for a server that gives addresses"
		}
		if !q.boots() {
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

// wants is the address a REQUEST, RELEASE or DECLINE is about: option 50, or
// ciaddr where the client uses it already (RFC 2131 section 4.3.6).
func (q *request) wants() netip.Addr {
	if a := q.requested(); a.IsValid() {
		return a
	}
	return addr4(q.ClientIPAddr)
}

// A grant is what the leases say to a request. The zero grant gives nothing.
type grant struct {
	lease   *lease.Lease  // the address given or offered
	subnet  *lease.Subnet // of the client's link, known in full mode
	refused bool          // it may not have the address it asks for
}

// An answer is a message and where it goes; raw is nil where there is none.
type answer struct {
	raw  []byte
	to   netip.AddrPort
	mac  boot.MAC // where frame is set, the Ethernet address it goes to
	link bool     // by a frame of our own: nobody could be asked for to's address
	text string   // for the journal: what was answered, or why not
}

var broadcast = boot.MAC{255, 255, 255, 255, 255, 255}

// respond makes the answer to a request: a pure function of its arguments.
func respond(q *request, mode Mode, me self, r Reply, g grant) answer {
	if !q.boots() {
		r.Bootfile = "" // a plain client would not know what to do with it
	}
	tells := r.Bootfile != "" || q.agent()
	switch {
	case r.Silent:
		return answer{text: "not answered, as decided"}
	case g.lease == nil && g.subnet == nil && !g.refused && !tells:
		return answer{text: "not answered, there is no boot file for it"}
	}
	p := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        q.HWType,
		TransactionID: q.TransactionID,
		Flags:         q.Flags,
		GatewayIPAddr: ip4(q.Relay),
		ClientHWAddr:  q.ClientHWAddr,
		Options:       dhcpv4.Options{},
	}
	mt := dhcpv4.MessageTypeAck
	switch {
	case g.refused:
		mt = dhcpv4.MessageTypeNak
	case q.MessageType() == dhcpv4.MessageTypeDiscover:
		mt = dhcpv4.MessageTypeOffer
	}
	p.UpdateOption(dhcpv4.OptMessageType(mt))
	p.UpdateOption(dhcpv4.OptServerIdentifier(ip4(me.addr)))
	q.echo(p)
	a := answer{text: "refused " + q.wants().String()}
	if mt == dhcpv4.MessageTypeNak {
		p.SetBroadcast() // RFC 2131 section 4.3.2: so that a relay broadcasts it
	} else {
		if mt == dhcpv4.MessageTypeAck {
			p.ClientIPAddr = q.ClientIPAddr // RFC 2131 table 3
		}
		address(p, g)
		if tells {
			q.boot(p, mode, me, r.Bootfile)
		}
		a.text = q.said(mt, mode, g, r)
		if q.Relay.IsValid() && !addr4(p.YourIPAddr).IsValid() && !addr4(p.ClientIPAddr).IsValid() {
			p.SetBroadcast() // a ProxyDHCP's offer: the relay has no address to send it to
		}
	}
	a.raw = encode(p, room(q.DHCPv4))
	q.route(&a, mt, addr4(p.YourIPAddr))
	return a
}

// echo copies what a client or a relay wants to see again, as it came: RFC
// 6842 section 3 (61), RFC 4578 section 2.3 (97), RFC 3046 section 2.2 (82).
func (q *request) echo(p *dhcpv4.DHCPv4) {
	for _, code := range []dhcpv4.OptionCode{
		dhcpv4.OptionClientIdentifier, dhcpv4.OptionClientMachineIdentifier, dhcpv4.OptionRelayAgentInformation,
	} {
		if v, ok := q.Options[code.Code()]; ok {
			p.Options[code.Code()] = v
		}
	}
}

// address says which address the client has and what it needs to use it.
func address(p *dhcpv4.DHCPv4, g grant) {
	if g.lease != nil {
		p.YourIPAddr = ip4(g.lease.Addr)
		term := g.lease.Subnet.Lease
		// RFC 2131 section 4.4.5: T1 is half of it, T2 seven eighths.
		p.UpdateOption(dhcpv4.OptIPAddressLeaseTime(term))
		p.Options[dhcpv4.OptionRenewTimeValue.Code()] = seconds(term / 2)
		p.Options[dhcpv4.OptionRebindingTimeValue.Code()] = seconds(term * 7 / 8)
		if g.lease.Name != "" {
			p.UpdateOption(dhcpv4.OptHostName(g.lease.Name))
		}
	}
	n := g.subnet
	if n == nil {
		return
	}
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(1<<(32-n.Prefix.Bits())-1))
	p.Options[dhcpv4.OptionSubnetMask.Code()] = mask
	p.Options[dhcpv4.OptionBroadcastAddress.Code()] = ip4(n.Broadcast())
	if n.Router.IsValid() {
		p.Options[dhcpv4.OptionRouter.Code()] = ip4(n.Router)
	}
	for _, d := range n.DNS {
		code := dhcpv4.OptionDomainNameServer.Code()
		p.Options[code] = append(p.Options[code], ip4(d)...)
	}
}

// boot says what to boot and from where, as the loader wants to hear it.
func (q *request) boot(p *dhcpv4.DHCPv4, mode Mode, me self, file string) {
	p.ServerIPAddr = ip4(me.next)
	l := q.Loader
	if l == nil {
		l = &board.Loader{}
	}
	class := q.class(mode, l)
	if class != "" {
		p.UpdateOption(dhcpv4.OptClassIdentifier(class))
	}
	if file == "" || q.asksAgain(mode) {
		return
	}
	switch {
	case l.Vendor != nil:
		p.Options[dhcpv4.OptionVendorSpecificInformation.Code()] = l.Vendor
	case class == pxeClient && !l.BINL:
		// PXE_DISCOVERY_CONTROL, bit 3: use the file named here, show no menu.
		p.Options[dhcpv4.OptionVendorSpecificInformation.Code()] = []byte{6, 1, 8, 255}
	}
	if mode == Full && l.NoProxyWait {
		p.Options[optIPXE.Code()] = []byte{176, 1, 1}
	}
	if !l.OwnNames {
		if len(file) < 128 {
			p.BootFileName = file
		}
		p.UpdateOption(dhcpv4.OptBootFileName(file))
	}
	if l.HTTP {
		return // the file is a URL and says it all
	}
	next := me.next.String()
	p.ServerHostName = next
	p.UpdateOption(dhcpv4.OptTFTPServerName(next))
	if q.asksFor(optTFTPServers) {
		p.Options[optTFTPServers.Code()] = ip4(me.next)
	}
	// RFC 5071 sections 4 and 5. The prefix makes names start at the root,
	// wherever the boot file lies.
	if l.Pxelinux || q.asksFor(optPxelinuxFile) {
		p.Options[optPxelinuxFile.Code()] = []byte(board.Pxelinux + "/01-" + q.MAC.Hyphens())
	}
	if l.Pxelinux || q.asksFor(optPxelinuxPrefix) {
		p.Options[optPxelinuxPrefix.Code()] = []byte("/")
	}
}

// class is option 60 of the answer, "" for none.
func (q *request) class(mode Mode, l *board.Loader) string {
	switch {
	case q.agent():
		return VendorClass
	case l.HTTP:
		return httpClient
	case l.Vendor != nil:
		return pxeClient
	case mode == Proxy && strings.HasPrefix(q.Traits.VendorClass, pxeClient):
		// By this a client knows a ProxyDHCP offer. In full mode it is left
		// out: EDK2 would take such an offer for BINL's too and ask on port
		// 4011 for the file that the offer already names
		// (PxeBcSelectDhcp4Offer, cases 5 and 7).
		return pxeClient
	}
	return ""
}

// asksFor reports whether a client that lists what it wants lists an option.
func (q *request) asksFor(code dhcpv4.OptionCode) bool {
	return q.DHCPv4.Options.Has(dhcpv4.OptionParameterRequestList) && q.IsOptionRequested(code)
}

// asksAgain reports whether the client will ask on port 4011 for its file, and
// must not be told of it yet.
func (q *request) asksAgain(mode Mode) bool {
	return mode == Proxy && q.Port != portBINL && q.Loader != nil && q.Loader.BINL
}

// route finds where an answer goes, RFC 2131 section 4.1.
func (q *request) route(a *answer, mt dhcpv4.MessageType, yiaddr netip.Addr) {
	using := addr4(q.ClientIPAddr)
	switch {
	case q.Port == portBINL:
		a.to = q.From
	case q.Relay.IsValid():
		a.to = netip.AddrPortFrom(q.Relay, portServer)
	case using.IsValid() && using == q.From.Addr() && mt != dhcpv4.MessageTypeNak:
		// A ciaddr that it does not send from is answered on the link alone,
		// so that nobody can point us at others.
		a.to = netip.AddrPortFrom(using, portClient)
	case mt == dhcpv4.MessageTypeNak || q.IsBroadcast() || !yiaddr.IsValid():
		a.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portClient)
		a.mac, a.link = broadcast, true
	default:
		a.to = netip.AddrPortFrom(yiaddr, portClient)
		a.mac, a.link = q.MAC, true
	}
}

// said puts an answer into words.
func (q *request) said(mt dhcpv4.MessageType, mode Mode, g grant, r Reply) string {
	s := "told"
	switch {
	case g.lease != nil && mt == dhcpv4.MessageTypeOffer:
		s = "offered " + g.lease.Addr.String() + ","
	case g.lease != nil:
		s = "leased " + g.lease.Addr.String() + ","
	}
	switch {
	case r.Bootfile != "" && q.asksAgain(mode):
		return s + " to ask on port 4011"
	case r.Bootfile != "" && q.Loader != nil && q.Loader.OwnNames:
		return s + " where its files are"
	case r.Bootfile != "":
		return s + " " + r.Bootfile
	case q.agent():
		return s + " who the appliance is"
	case q.boots():
		return s + " no boot file"
	}
	return strings.TrimSuffix(s, ",")
}

func seconds(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
}
