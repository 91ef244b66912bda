package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// An answer is a message and where it goes; raw is nil where there is none.
type answer struct {
	raw   []byte
	to    netip.AddrPort
	port  uint16   // ours, from which it goes
	frame bool     // by a frame of our own: nobody could be asked for to's address
	mac   boot.MAC // where frame is set, the Ethernet address it goes to
	text  string   // for the journal: what was answered, or why not
}

// respond makes the answer to a request: a pure function of its arguments.
func respond(q *request, mode Mode, us identity, info boot.BootInfo, g grant) answer {
	if !q.Boots() {
		info.Bootfile = "" // a plain client would not know what to do with it
	}
	tells := info.Bootfile != "" || q.FromAgent()
	switch {
	case info.Silent:
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
	p.UpdateOption(dhcpv4.OptServerIdentifier(ip4(us.addr)))
	q.echo(p)
	a := answer{port: q.port, text: "refused " + q.wants().String()}
	if mt == dhcpv4.MessageTypeNak {
		p.SetBroadcast() // RFC 2131 section 4.3.2: so that a relay broadcasts it
	} else {
		if mt == dhcpv4.MessageTypeAck {
			p.ClientIPAddr = q.ClientIPAddr // RFC 2131 table 3
		}
		addAddress(p, g)
		if tells {
			q.addBoot(p, mode, us, info.Bootfile)
		}
		a.text = q.said(mt, mode, g, info)
		if q.Relay.IsValid() && !addr4(p.YourIPAddr).IsValid() && !addr4(p.ClientIPAddr).IsValid() {
			p.SetBroadcast() // a ProxyDHCP's offer: the relay has no address to send it to
		}
	}
	a.raw = encode(p, maxLength(q.DHCPv4))
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

// addAddress says which address the client has and what it needs to use it.
func addAddress(p *dhcpv4.DHCPv4, g grant) {
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

// addBoot says what to boot and from where, as the loader wants to hear it.
func (q *request) addBoot(p *dhcpv4.DHCPv4, mode Mode, us identity, file string) {
	p.ServerIPAddr = ip4(us.next)
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
	case class == board.PXEClass && !l.BINL:
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
	next := us.next.String()
	p.ServerHostName = next
	p.UpdateOption(dhcpv4.OptTFTPServerName(next))
	if q.asksFor(optTFTPServers) {
		p.Options[optTFTPServers.Code()] = ip4(us.next)
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
	case q.FromAgent():
		return board.ApplianceClass
	case l.HTTP:
		return board.HTTPClass
	case l.Vendor != nil:
		return board.PXEClass
	case mode == Proxy && strings.HasPrefix(q.Traits.VendorClass, board.PXEClass):
		// By this a client knows a ProxyDHCP offer. In full mode it is left
		// out: EDK2 would take such an offer for BINL's too and ask on port
		// 4011 for the file that the offer already names
		// (PxeBcSelectDhcp4Offer, cases 5 and 7).
		return board.PXEClass
	}
	return ""
}

// route finds where an answer goes, RFC 2131 section 4.1.
func (q *request) route(a *answer, mt dhcpv4.MessageType, yiaddr netip.Addr) {
	using := addr4(q.ClientIPAddr)
	switch {
	case q.port == portBINL:
		a.to = q.from
	case q.Relay.IsValid():
		a.to = netip.AddrPortFrom(q.Relay, portServer)
	case using.IsValid() && using == q.from.Addr() && mt != dhcpv4.MessageTypeNak:
		// A ciaddr that it does not send from is answered on the link alone,
		// so that nobody can point us at others.
		a.to = netip.AddrPortFrom(using, portClient)
	case mt == dhcpv4.MessageTypeNak || q.IsBroadcast() || !yiaddr.IsValid():
		a.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portClient)
		a.mac, a.frame = wire.Broadcast, true
	default:
		a.to = netip.AddrPortFrom(yiaddr, portClient)
		a.mac, a.frame = q.MAC, true
	}
}

// said puts an answer into words.
func (q *request) said(mt dhcpv4.MessageType, mode Mode, g grant, info boot.BootInfo) string {
	s := "told"
	switch {
	case g.lease != nil && mt == dhcpv4.MessageTypeOffer:
		s = "offered " + g.lease.Addr.String() + ","
	case g.lease != nil:
		s = "leased " + g.lease.Addr.String() + ","
	}
	switch {
	case info.Bootfile != "" && q.asksAgain(mode):
		return s + " to ask on port 4011"
	case info.Bootfile != "" && q.Loader != nil && q.Loader.OwnNames:
		return s + " where its files are"
	case info.Bootfile != "":
		return s + " " + info.Bootfile
	case q.FromAgent():
		return s + " who the appliance is"
	case q.Boots():
		return s + " no boot file"
	}
	return strings.TrimSuffix(s, ",")
}

func seconds(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
}

func ip4(a netip.Addr) net.IP {
	if !a.Is4() {
		return net.IPv4zero.To4()
	}
	b := a.As4()
	return net.IP(b[:])
}
