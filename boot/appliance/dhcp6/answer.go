package dhcp6

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// identity is the appliance as the clients of one link know it.
type identity struct {
	duid   dhcpv6.DUID
	addr   netip.Addr // where the files are
	subnet lease.Subnet
}

func (s *Server) identity() identity { return identity{s.duid, s.Addr, s.Subnet} }

// An answer is a message and where it goes; raw is nil where there is none.
type answer struct {
	raw  []byte
	to   netip.AddrPort
	text string // for the journal: what was answered, or why not
}

// respond makes the answer to a request: a pure function of its arguments.
func respond(q *request, us identity, info boot.BootInfo, given []grant) answer {
	p := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: q.TransactionID}
	if client := q.GetOneOption(dhcpv6.OptionClientID); client != nil {
		p.AddOption(client)
	}
	p.AddOption(dhcpv6.OptServerID(us.duid))
	text := "told"
	switch q.MessageType {
	case dhcpv6.MessageTypeSolicit:
		p.MessageType, text = dhcpv6.MessageTypeAdvertise, "offered"
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		text = "leased"
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return q.acknowledge(p, given)
	case dhcpv6.MessageTypeConfirm:
		return q.confirm(p, us)
	}
	for _, g := range given {
		p.AddOption(g.option(us.subnet.Lease))
		if g.addr.IsValid() {
			text += " " + g.addr.String() + ","
		} else if g.status != iana.StatusSuccess {
			text += " " + g.status.String() + ","
		}
	}
	dns := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionDNSRecursiveNameServer}
	for _, a := range us.subnet.DNS {
		dns.OptionData = append(dns.OptionData, a.AsSlice()...)
	}
	if dns.OptionData != nil {
		p.AddOption(dns)
	}
	text += q.addBoot(p, us, info)
	return answer{raw: p.ToBytes(), to: q.from, text: strings.TrimSuffix(text, ",")}
}

// acknowledge answers RELEASE and DECLINE. It names what was not the client's own.
func (q *request) acknowledge(p *dhcpv6.Message, given []grant) answer {
	p.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
	for _, g := range given {
		if g.status != iana.StatusSuccess {
			p.AddOption(g.option(0))
		}
	}
	text := fmt.Sprint(strings.ToLower(q.MessageType.String()), " of ", addresses(q.ias...))
	return answer{raw: p.ToBytes(), to: q.from, text: text}
}

// confirm answers CONFIRM: whether the client's addresses are of this link. One
// without an address has no answer (RFC 8415 section 18.3.3).
func (q *request) confirm(p *dhcpv6.Message, us identity) answer {
	addrs, status := addresses(q.ias...), iana.StatusSuccess
	if len(addrs) == 0 {
		return answer{text: "asks after no address"}
	}
	if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !us.subnet.Prefix.Contains(a) }) {
		status = iana.StatusNotOnLink
	}
	p.AddOption(&dhcpv6.OptStatusCode{StatusCode: status})
	return answer{raw: p.ToBytes(), to: q.from, text: "told " + status.String()}
}

// addBoot says what to boot, as a URL. It returns the words for the journal.
func (q *request) addBoot(p *dhcpv6.Message, us identity, info boot.BootInfo) (text string) {
	url := info.Bootfile
	if q.Loader == nil || !slices.Contains(q.Loader.Files, board.UKI) {
		url = ""
	} else if url != "" && !q.Loader.HTTP {
		url = "tftp://[" + us.addr.String() + "]/" + url
	}
	switch {
	case url != "":
		p.AddOption(dhcpv6.OptBootFileURL(url))
		if q.Loader.HTTP {
			p.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte(board.HTTPClass)}})
		}
		if p.MessageType == dhcpv6.MessageTypeAdvertise {
			// Section 18.2.1: it is taken at once. EDK2 would wait 5 s for others.
			p.AddOption(dhcpv6.OptPreference(255))
		}
		return " " + url
	case info.Bootfile != "":
		return " its boot file it has by IPv4"
	case q.Boots():
		return " no boot file"
	}
	return ""
}

// option is the IA_NA of an answer. T1 and T2 are what RFC 8415 section 21.4
// recommends. What is gone has no lifetime left.
func (g grant) option(term time.Duration) dhcpv6.Option {
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
