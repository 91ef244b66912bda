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

// A reply is an answer in the making, and what it is made of.
type reply struct {
	*request
	mode  Mode
	us    identity
	info  boot.BootInfo
	given grant
	p     *dhcpv4.DHCPv4
}

// respond makes the answer to a request: a pure function of its arguments.
func respond(q *request, mode Mode, us identity, info boot.BootInfo, given grant) answer {
	if !q.Boots() {
		info.Bootfile = "" // a plain client would not know what to do with it
	}
	r := &reply{request: q, mode: mode, us: us, info: info, given: given}
	tells := info.Bootfile != "" || q.FromAgent()
	switch {
	case info.Silent:
		return answer{text: "not answered, as decided"}
	case given.lease == nil && given.subnet == nil && !given.refused && !tells:
		return answer{text: "not answered, there is no boot file for it"}
	}
	mt := r.begin()
	a := answer{port: q.port, text: "refused " + q.wants().String()}
	if mt == dhcpv4.MessageTypeNak {
		r.p.SetBroadcast() // RFC 2131 section 4.3.2: so that a relay broadcasts it
	} else {
		if mt == dhcpv4.MessageTypeAck {
			r.p.ClientIPAddr = q.ClientIPAddr // RFC 2131 table 3
		}
		r.addAddress()
		if tells {
			r.addBoot()
		}
		a.text = r.said(mt)
		if q.Relay.IsValid() && !addr4(r.p.YourIPAddr).IsValid() && !addr4(r.p.ClientIPAddr).IsValid() {
			r.p.SetBroadcast() // a ProxyDHCP's offer: the relay has no address to send it to
		}
	}
	a.raw = encode(r.p, maxLength(q.DHCPv4))
	r.route(&a, mt)
	return a
}

// begin makes a message with what stands in every answer, and returns its type.
func (r *reply) begin() dhcpv4.MessageType {
	r.p = &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        r.HWType,
		TransactionID: r.TransactionID,
		Flags:         r.Flags,
		GatewayIPAddr: ip4(r.Relay),
		ClientHWAddr:  r.ClientHWAddr,
		Options:       dhcpv4.Options{},
	}
	mt := dhcpv4.MessageTypeAck
	switch {
	case r.given.refused:
		mt = dhcpv4.MessageTypeNak
	case r.MessageType() == dhcpv4.MessageTypeDiscover:
		mt = dhcpv4.MessageTypeOffer
	}
	r.p.UpdateOption(dhcpv4.OptMessageType(mt))
	r.p.UpdateOption(dhcpv4.OptServerIdentifier(ip4(r.us.addr)))
	r.echo()
	return mt
}

// echo copies what a client or a relay wants to see again, as it came. See RFC
// 6842 section 3 (61), RFC 4578 section 2.3 (97), RFC 3046 section 2.2 (82).
func (r *reply) echo() {
	for _, code := range []dhcpv4.OptionCode{
		dhcpv4.OptionClientIdentifier, dhcpv4.OptionClientMachineIdentifier, dhcpv4.OptionRelayAgentInformation,
	} {
		if v, ok := r.Options[code.Code()]; ok {
			r.p.Options[code.Code()] = v
		}
	}
}

// addAddress says which address the client has and what it needs to use it.
func (r *reply) addAddress() {
	p, g := r.p, r.given
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
func (r *reply) addBoot() {
	p, file := r.p, r.info.Bootfile
	p.ServerIPAddr = ip4(r.us.next)
	l := r.Loader
	if l == nil {
		l = &board.Loader{}
	}
	class := r.class(l)
	if class != "" {
		p.UpdateOption(dhcpv4.OptClassIdentifier(class))
	}
	if file == "" || r.asksAgain() {
		return
	}
	switch {
	case l.Vendor != nil:
		p.Options[dhcpv4.OptionVendorSpecificInformation.Code()] = l.Vendor
	case class == board.PXEClass && !l.BINL:
		// PXE_DISCOVERY_CONTROL, bit 3: use the file named here, show no menu.
		p.Options[dhcpv4.OptionVendorSpecificInformation.Code()] = []byte{6, 1, 8, 255}
	}
	if r.mode == Full && l.NoProxyWait {
		p.Options[optIPXE.Code()] = []byte{176, 1, 1}
	}
	if !l.OwnNames {
		if len(file) < 128 {
			p.BootFileName = file
		}
		p.UpdateOption(dhcpv4.OptBootFileName(file))
	}
	if !l.HTTP { // else the file is a URL and says it all
		r.addTFTP(l)
	}
}

// addTFTP names the TFTP server, and what pxelinux reads there.
func (r *reply) addTFTP(l *board.Loader) {
	next := r.us.next.String()
	r.p.ServerHostName = next
	r.p.UpdateOption(dhcpv4.OptTFTPServerName(next))
	if r.asksFor(optTFTPServers) {
		r.p.Options[optTFTPServers.Code()] = ip4(r.us.next)
	}
	// RFC 5071 sections 4 and 5. The prefix makes names start at the root,
	// wherever the boot file lies.
	if l.Pxelinux || r.asksFor(optPxelinuxFile) {
		r.p.Options[optPxelinuxFile.Code()] = []byte(board.Pxelinux + "/01-" + r.MAC.Hyphens())
	}
	if l.Pxelinux || r.asksFor(optPxelinuxPrefix) {
		r.p.Options[optPxelinuxPrefix.Code()] = []byte("/")
	}
}

// class is option 60 of the answer, "" for none.
func (r *reply) class(l *board.Loader) string {
	switch {
	case r.FromAgent():
		return board.ApplianceClass
	case l.HTTP:
		return board.HTTPClass
	case l.Vendor != nil:
		return board.PXEClass
	case r.mode == Proxy && strings.HasPrefix(r.Traits.VendorClass, board.PXEClass):
		// By this a client knows a ProxyDHCP offer. In full mode it is left
		// out. EDK2 would take such an offer for BINL's too
		// (PxeBcSelectDhcp4Offer, cases 5 and 7). It would ask on port 4011 for
		// the file that the offer already names.
		return board.PXEClass
	}
	return ""
}

// asksFor reports whether a client that lists what it wants lists an option.
func (r *reply) asksFor(code dhcpv4.OptionCode) bool {
	return r.DHCPv4.Options.Has(dhcpv4.OptionParameterRequestList) && r.IsOptionRequested(code)
}

// asksAgain reports whether the client will ask on port 4011 for its file. It
// must not be told of it yet.
func (r *reply) asksAgain() bool {
	return r.mode == Proxy && r.port != portBINL && r.Loader != nil && r.Loader.BINL
}

// route finds where an answer goes, RFC 2131 section 4.1.
func (r *reply) route(a *answer, mt dhcpv4.MessageType) {
	using, yiaddr := addr4(r.ClientIPAddr), addr4(r.p.YourIPAddr)
	switch {
	case r.port == portBINL:
		a.to = r.from
	case r.Relay.IsValid():
		a.to = netip.AddrPortFrom(r.Relay, portServer)
	case using.IsValid() && using == r.from.Addr() && mt != dhcpv4.MessageTypeNak:
		// A ciaddr that it does not send from is answered on the link alone.
		// So nobody can point us at others.
		a.to = netip.AddrPortFrom(using, portClient)
	case mt == dhcpv4.MessageTypeNak || r.IsBroadcast() || !yiaddr.IsValid():
		a.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portClient)
		a.mac, a.frame = wire.Broadcast, true
	default:
		a.to = netip.AddrPortFrom(yiaddr, portClient)
		a.mac, a.frame = r.MAC, true
	}
}

// said puts an answer into words, for the journal.
func (r *reply) said(mt dhcpv4.MessageType) string {
	s := "told"
	switch {
	case r.given.lease != nil && mt == dhcpv4.MessageTypeOffer:
		s = "offered " + r.given.lease.Addr.String() + ","
	case r.given.lease != nil:
		s = "leased " + r.given.lease.Addr.String() + ","
	}
	switch file := r.info.Bootfile; {
	case file != "" && r.asksAgain():
		return s + " to ask on port 4011"
	case file != "" && r.Loader != nil && r.Loader.OwnNames:
		return s + " where its files are"
	case file != "":
		return s + " " + file
	case r.FromAgent():
		return s + " who the appliance is"
	case r.Boots():
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
