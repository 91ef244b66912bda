package dhcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"
)

// A six answers DHCPv6 (RFC 8415) on one link, for UEFI machines that boot by
// IPv6: addresses, and the URL of the boot file in option 59 (RFC 5970). It
// knows no relays, temporary addresses or prefixes. What it boots has to find
// us by IPv4 afterwards, as our agent does: a loader that would be given a
// script, and in it the address that it asked, is told of none here.
//
// Which address an IA_NA gets follows from its client's DUID and its IAID, so
// that it tends to get the same again; who has which is known in memory alone.
// After a restart a client that renews keeps what it has; until then another
// may be given that address, find it in use (RFC 4862 section 5.4) and decline.
type six struct {
	addr   netip.Addr // ours, where the files are; never given
	duid   dhcpv6.DUID
	subnet lease.Subnet
	held   map[netip.Addr]held6 // as many as the pool has, 65536 at most
}

// A held6 is who has an address (DUID and IAID; "": it was declined), until when.
type held6 struct {
	who   string
	until time.Time
}

// A request6 is a message and who sent it.
type request6 struct {
	*dhcpv6.Message
	Hearing
	from netip.AddrPort
	ias  []*dhcpv6.OptIANA
}

// A grant6 is what there is for one IA_NA.
type grant6 struct {
	iaid   [4]byte
	addr   netip.Addr // given, or the zero Addr
	gone   []netip.Addr
	status iana.StatusCode
}

const (
	portServer6 = 547
	// intel is the enterprise number with which PXE and HTTP clients say what
	// they are in option 16, and want an answer (UEFI 2.10 section 24.7.3.1).
	intel = 343
	// maxIA bounds the addresses that one message is about; clients say one.
	maxIA = 4
)

var allServers6 = [16]byte{0: 0xff, 1: 0x02, 13: 1, 15: 2} // ff02::1:2, RFC 8415 section 7.1

// openSix opens port 547 where the interface has an address in one of Six.
func (s *Server) openSix(ifi *net.Interface) error {
	list, err := ifi.Addrs()
	for _, a := range list {
		p, perr := netip.ParsePrefix(a.String())
		i := slices.IndexFunc(s.Six, func(n lease.Subnet) bool { return n.Prefix.Contains(p.Addr()) })
		if perr != nil || i < 0 {
			continue
		}
		duid := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr}
		s.six = &six{addr: p.Addr(), duid: duid, subnet: s.Six[i], held: map[netip.Addr]held6{}}
		s.router.six = &s.six.subnet
		s.conns[portServer6], err = listen(ifi.Name, "udp6", portServer6, unix.IPv6Mreq{Multiaddr: allServers6, Interface: uint32(ifi.Index)})
		break
	}
	if err != nil {
		delete(s.conns, portServer6)
		s.router.f.Close()
	}
	return err
}

// handleSix answers one packet.
func (s *Server) handleSix(ctx context.Context, conn *net.UDPConn, raw []byte, from netip.AddrPort) {
	q, err := hearSix(raw, s.Interface, from, s.six.duid)
	if err != nil {
		s.Log.Debug("dhcp: IPv6 packet ignored", "from", from, "interface", s.Interface, "why", err)
		return
	}
	q.Next = s.six.addr
	var r Reply // of a machine without a MAC: an address, and nothing to boot
	if q.MAC != (boot.MAC{}) {
		if r, err = s.Decide(ctx, q.Hearing); err != nil {
			s.Log.Error("dhcp: decide", "mac", q.MAC, "interface", s.Interface, "err", err)
			r = Reply{}
		}
	}
	a := answer{text: "not answered, as decided"}
	if !r.Silent {
		given := s.six.grant(q, time.Now())
		a = respondSix(q, s.six, r, given)
		for _, g := range given {
			if g.addr.IsValid() && s.Seen != nil && q.MAC != (boot.MAC{}) {
				s.Seen(q.MAC, g.addr) // before its first RRQ can come
			}
		}
	}
	s.finish(conn, a, boot.Event{
		Machine: r.Machine, MAC: q.MAC, Kind: boot.KindDHCP, Proto: "dhcp6", File: r.Bootfile,
		Text: fmt.Sprintf("%s from %s on %s: %s", q.MessageType, q.who(), q.Interface, a.text),
	})
}

// hearSix reads a message and holds it against RFC 8415 section 16; us is our
// own identifier.
func hearSix(raw []byte, iface string, from netip.AddrPort, us dhcpv6.DUID) (*request6, error) {
	m, err := dhcpv6.MessageFromBytes(raw)
	if err != nil {
		return nil, err
	}
	// The socket is of one interface; the zone says nothing more.
	q := &request6{Message: m, from: netip.AddrPortFrom(from.Addr().WithZone(""), from.Port()), ias: m.Options.IANA()}
	client, server := m.Options.ClientID(), m.Options.ServerID()
	ours, ok := server != nil && server.Equal(us), false
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		ok = client != nil && server == nil
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		ok = client != nil && ours
	case dhcpv6.MessageTypeInformationRequest:
		ok = (server == nil || ours) && len(q.ias) == 0
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("%s with client identifier %v and server %v", m.MessageType, client, server)
	case !q.from.Addr().IsLinkLocalUnicast(): // section 13.1; so nobody can point us at others
		return nil, fmt.Errorf("%s is no link-local address", q.from)
	case len(q.ias) > maxIA || len(asked(q.ias...)) > maxIA || client != nil && len(client.ToBytes()) > 130: // section 11.1
		return nil, fmt.Errorf("it asks for more than %d addresses, or its identifier is too long", maxIA)
	}
	// Firmware makes its link-local address of its Ethernet address (RFC 4291
	// appendix A). What does not is an operating system's.
	b := q.from.Addr().As16()
	if mac := (boot.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}); linkLocal(mac) == q.from.Addr() && mac.Station() {
		q.MAC = mac
	}
	q.Interface = iface
	q.Traits = board.Traits{Client: board.ClientUnknown, MAC: q.MAC[:]}
	if types := m.Options.ArchTypes(); len(types) > 0 {
		q.Traits.Client = board.Client(types[0])
	}
	if classes := m.Options.UserClasses(); len(classes) > 0 {
		q.Traits.UserClass = string(classes[0])
	}
	if class := m.Options.VendorClass(intel); len(class) > 0 {
		q.Traits.VendorClass = string(class[0])
	}
	if d, ok := client.(*dhcpv6.DUIDUUID); ok { // RFC 6355; the same bytes as in option 97
		q.Traits.GUID = d.UUID[:]
		if id := boot.UUID(d.UUID); id.Known() {
			q.UUID = &id
		}
	}
	q.Board, q.Loader = board.Recognise(q.Traits)
	return q, nil
}

// grant does for each IA_NA of a request what the request asks.
func (x *six) grant(q *request6, now time.Time) []grant6 {
	var given []grant6
	for _, ia := range q.ias {
		g, addrs := grant6{iaid: ia.IaId}, asked(ia)
		who := string(ia.IaId[:]) + string(q.Options.ClientID().ToBytes())
		switch q.MessageType {
		case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest:
			if g.addr = x.pick(who, addrs, now); !g.addr.IsValid() {
				g.status = iana.StatusNoAddrsAvail
			}
		case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind: // sections 18.3.4 and 18.3.5
			for _, a := range addrs {
				if !g.addr.IsValid() && x.free(a, who, now) {
					g.addr = a
				} else {
					g.gone = append(g.gone, a)
				}
			}
			if len(addrs) == 0 {
				g.status = iana.StatusNoBinding
			}
		case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline: // sections 18.3.7 and 18.3.8
			g.status = iana.StatusNoBinding
			for _, a := range addrs {
				if x.held[a].who == who {
					g.status = iana.StatusSuccess
					delete(x.held, a)
					if q.MessageType == dhcpv6.MessageTypeDecline {
						x.held[a] = held6{until: now.Add(lease.DefaultTiming.Quarantine)}
					}
				}
			}
		}
		if g.addr.IsValid() && q.MessageType != dhcpv6.MessageTypeSolicit {
			x.held[g.addr] = held6{who, now.Add(x.subnet.Lease)}
		}
		given = append(given, g)
	}
	return given
}

// pick finds an address: one that it wants, else the first free one behind that
// which follows from who it is. The zero Addr: all are taken.
func (x *six) pick(who string, want []netip.Addr, now time.Time) netip.Addr {
	for _, a := range want {
		if x.free(a, who, now) {
			return a
		}
	}
	h := fnv.New64a()
	h.Write([]byte(who))
	from, to := x.subnet.PoolFrom.As16(), x.subnet.PoolTo.As16() // they differ in the last eight bytes
	first := binary.BigEndian.Uint64(from[8:])
	n := binary.BigEndian.Uint64(to[8:]) - first + 1
	begin := h.Sum64() % n
	for i := range n {
		binary.BigEndian.PutUint64(from[8:], first+(begin+i)%n)
		if a := netip.AddrFrom16(from); x.free(a, who, now) {
			return a
		}
	}
	return netip.Addr{}
}

// free reports whether an address may be given to who.
func (x *six) free(a netip.Addr, who string, now time.Time) bool {
	h, ok := x.held[a]
	return a != x.addr && x.subnet.PoolFrom.Compare(a) <= 0 && a.Compare(x.subnet.PoolTo) <= 0 &&
		(!ok || h.who == who || now.After(h.until))
}

// respondSix makes the answer to a request: a pure function of its arguments.
func respondSix(q *request6, me *six, r Reply, given []grant6) answer {
	p := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: q.TransactionID}
	if client := q.GetOneOption(dhcpv6.OptionClientID); client != nil {
		p.AddOption(client)
	}
	p.AddOption(dhcpv6.OptServerID(me.duid))
	text := "told"
	switch q.MessageType {
	case dhcpv6.MessageTypeSolicit:
		p.MessageType, text = dhcpv6.MessageTypeAdvertise, "offered"
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		text = "leased"
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		p.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
		for _, g := range given {
			if g.status != iana.StatusSuccess {
				p.AddOption(g.option(0))
			}
		}
		return answer{raw: p.ToBytes(), to: q.from, text: fmt.Sprint(strings.ToLower(q.MessageType.String()), " of ", asked(q.ias...))}
	case dhcpv6.MessageTypeConfirm: // section 18.3.3; without an address it has no answer
		addrs, status := asked(q.ias...), iana.StatusSuccess
		if len(addrs) == 0 {
			return answer{text: "asks after no address"}
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !me.subnet.Prefix.Contains(a) }) {
			status = iana.StatusNotOnLink
		}
		p.AddOption(&dhcpv6.OptStatusCode{StatusCode: status})
		return answer{raw: p.ToBytes(), to: q.from, text: "told " + status.String()}
	}
	for _, g := range given {
		p.AddOption(g.option(me.subnet.Lease))
		if g.addr.IsValid() {
			text += " " + g.addr.String() + ","
		} else if g.status != iana.StatusSuccess {
			text += " " + g.status.String() + ","
		}
	}
	dns := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionDNSRecursiveNameServer}
	for _, a := range me.subnet.DNS {
		dns.OptionData = append(dns.OptionData, a.AsSlice()...)
	}
	if dns.OptionData != nil {
		p.AddOption(dns)
	}
	url := r.Bootfile
	if q.Loader == nil || !slices.Contains(q.Loader.Files, board.UKI) {
		url = ""
	} else if url != "" && !q.Loader.HTTP {
		url = "tftp://[" + me.addr.String() + "]/" + url
	}
	switch {
	case url != "":
		p.AddOption(dhcpv6.OptBootFileURL(url))
		if q.Loader.HTTP {
			p.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte(httpClient)}})
		}
		if p.MessageType == dhcpv6.MessageTypeAdvertise {
			// Section 18.2.1: it is taken at once. EDK2 would wait 5 s for others.
			p.AddOption(dhcpv6.OptPreference(255))
		}
		text += " " + url
	case r.Bootfile != "":
		text += " its boot file it has by IPv4"
	case q.boots():
		text += " no boot file"
	}
	return answer{raw: p.ToBytes(), to: q.from, text: strings.TrimSuffix(text, ",")}
}

// option is the IA_NA of an answer. T1 and T2 are what RFC 8415 section 21.4
// recommends; what is gone has no lifetime left.
func (g grant6) option(term time.Duration) dhcpv6.Option {
	ia := &dhcpv6.OptIANA{IaId: g.iaid}
	if g.addr.IsValid() {
		ia.T1, ia.T2 = term/2, term*4/5
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: g.addr.AsSlice(), PreferredLifetime: term, ValidLifetime: term})
	}
	for _, a := range g.gone {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	}
	if g.status != iana.StatusSuccess {
		ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: g.status})
	}
	return ia
}

// asked lists the addresses in IA_NAs of a request.
func asked(ias ...*dhcpv6.OptIANA) (all []netip.Addr) {
	for _, ia := range ias {
		for _, o := range ia.Options.Addresses() {
			if a, ok := netip.AddrFromSlice(o.IPv6Addr); ok {
				all = append(all, a)
			}
		}
	}
	return all
}
