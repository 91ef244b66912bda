package dhcp6

import (
	"context"
	"errors"
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

// grant asks the leases for each IA_NA of a request. An error is the store's:
// the client is then told nothing, and asks again.
func (s *Server) grant(ctx context.Context, q *request) ([]grant, error) {
	var given []grant
	for _, ia := range q.ias {
		g := grant{iaid: ia.IaId}
		client, asked := s.client(q, ia), addresses(ia)
		var err error
		switch q.MessageType {
		case dhcpv6.MessageTypeSolicit:
			err = g.give(s.Leases.Offer(client, asked))
		case dhcpv6.MessageTypeRequest:
			err = g.give(s.Leases.Bind(ctx, client, asked))
		case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
			err = s.extend(ctx, &g, client, asked)
		case dhcpv6.MessageTypeRelease:
			err = giveBack(ctx, &g, client, asked, s.Leases.Release)
		case dhcpv6.MessageTypeDecline:
			err = giveBack(ctx, &g, client, asked, s.Leases.Decline)
		}
		if err != nil {
			return nil, err
		}
		given = append(given, g)
	}
	return given, nil
}

// client is who asks for an IA_NA: a DUID and an IAID (RFC 8415 section 12).
func (s *Server) client(q *request, ia *dhcpv6.OptIANA) lease.Client6 {
	c := lease.Client6{IAID: ia.IaId, MAC: q.MAC, At: s.Addr}
	if duid := q.Options.ClientID(); duid != nil {
		c.DUID = duid.ToBytes()
	}
	return c
}

// give takes over what the leases say to a SOLICIT or REQUEST.
func (g *grant) give(l lease.Lease, err error) error {
	if errors.Is(err, lease.ErrExhausted) || errors.Is(err, lease.ErrNoSubnet) || errors.Is(err, lease.ErrWrong) {
		g.status = iana.StatusNoAddrsAvail
		return nil
	}
	g.addr = l.Addr
	return err
}

// extend gives the first address that the client may have for longer. The
// others it has to give up (RFC 8415 sections 18.3.4 and 18.3.5).
func (s *Server) extend(ctx context.Context, g *grant, c lease.Client6, asked []netip.Addr) error {
	if len(asked) == 0 {
		g.status = iana.StatusNoBinding
		return nil
	}
	l, gone, err := s.Leases.Renew(ctx, c, asked)
	g.addr, g.gone = l.Addr, gone
	return err
}

// giveBack ends leases (RFC 8415 sections 18.3.7 and 18.3.8). The client is told
// of an IA_NA of which none was its own.
func giveBack(ctx context.Context, g *grant, c lease.Client6, asked []netip.Addr, end func(context.Context, lease.Client6, netip.Addr) error) error {
	g.status = iana.StatusNoBinding
	for _, a := range asked {
		switch err := end(ctx, c, a); {
		case err == nil:
			g.status = iana.StatusSuccess
		case !errors.Is(err, lease.ErrWrong):
			return err
		}
	}
	return nil
}
