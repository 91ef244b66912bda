package dhcp6

import (
	"context"
	"net/netip"

	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// A grant is what there is for one IA_NA.
type grant struct {
	iaid   [4]byte
	addr   netip.Addr   // given, or the zero Addr
	gone   []netip.Addr // asked for, and not to be used any more
	status iana.StatusCode
}

// grant asks the leases for each IA_NA of a request.
func (s *Server) grant(ctx context.Context, q *request) []grant {
	var given []grant
	for _, ia := range q.ias {
		g := grant{iaid: ia.IaId}
		client, asked := s.client(q, ia), addresses(ia)
		switch q.MessageType {
		case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest:
			s.give(ctx, &g, client, asked, q.MessageType == dhcpv6.MessageTypeRequest)
		case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
			s.extend(ctx, &g, client, asked)
		case dhcpv6.MessageTypeRelease:
			giveBack(ctx, &g, client, asked, s.leases.release)
		case dhcpv6.MessageTypeDecline:
			giveBack(ctx, &g, client, asked, s.leases.decline)
		}
		given = append(given, g)
	}
	return given
}

// client is who asks for an IA_NA: a DUID and an IAID (RFC 8415 section 12).
func (s *Server) client(q *request, ia *dhcpv6.OptIANA) lease.Client {
	id := append([]byte{}, ia.IaId[:]...)
	if duid := q.Options.ClientID(); duid != nil {
		id = append(id, duid.ToBytes()...)
	}
	return lease.Client{MAC: q.MAC, ID: id, At: s.Addr}
}

// give finds an address, and binds it where it was asked for by a REQUEST.
func (s *Server) give(ctx context.Context, g *grant, c lease.Client, asked []netip.Addr, forGood bool) {
	addr, err := s.leases.offer(c, asked)
	if err == nil && forGood {
		err = s.leases.bind(ctx, c, addr)
	}
	if err != nil {
		g.status = iana.StatusNoAddrsAvail
		return
	}
	g.addr = addr
}

// extend gives the first address that the client may have for longer. The
// others it has to give up (RFC 8415 sections 18.3.4 and 18.3.5).
func (s *Server) extend(ctx context.Context, g *grant, c lease.Client, asked []netip.Addr) {
	for _, a := range asked {
		if !g.addr.IsValid() && s.leases.bind(ctx, c, a) == nil {
			g.addr = a
		} else {
			g.gone = append(g.gone, a)
		}
	}
	if len(asked) == 0 {
		g.status = iana.StatusNoBinding
	}
}

// giveBack ends leases (RFC 8415 sections 18.3.7 and 18.3.8). The client is told
// of an IA_NA of which none was its own.
func giveBack(ctx context.Context, g *grant, c lease.Client, asked []netip.Addr, end func(context.Context, lease.Client, netip.Addr) error) {
	g.status = iana.StatusNoBinding
	for _, a := range asked {
		if end(ctx, c, a) == nil {
			g.status = iana.StatusSuccess
		}
	}
}
