package dhcp

import (
	"context"
	"errors"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// A grant is what the leases say to a request. The zero grant gives nothing.
type grant struct {
	lease   *lease.Lease  // the address given or offered
	subnet  *lease.Subnet // of the client's link, known in full mode
	refused bool          // it may not have the address it asks for
}

// grant asks the leases for what a request needs. An error is why there is no
// address for it.
func (s *Server) grant(ctx context.Context, q *request, do task, info boot.BootInfo) (g grant, err error) {
	if s.Mode != Full || info.Silent {
		return grant{}, nil
	}
	c := s.client(q)
	var l lease.Lease
	switch do {
	case inform:
		n, err := s.Leases.Subnet(c.At)
		return grant{subnet: &n}, err
	case offer:
		l, err = s.Leases.Offer(c, q.requested())
		if err == nil && q.skipsRequest() {
			l, err = s.Leases.Bind(ctx, c, l.Addr)
		}
	case bind:
		l, err = s.Leases.Bind(ctx, c, q.wants())
	}
	switch {
	case errors.Is(err, lease.ErrWrong):
		s.Log.Info("dhcp: NAK", "mac", q.MAC, "interface", s.Interface, "why", err)
		return grant{refused: true}, nil
	case err != nil:
		return grant{}, err
	}
	return grant{lease: &l, subnet: &l.Subnet}, nil
}

// explain says for the journal why there is no address. Anyone can read the
// journal. What the store says of its file and the disk is for the log alone.
func (s *Server) explain(q *request, err error) string {
	if errors.Is(err, lease.ErrNoSubnet) || errors.Is(err, lease.ErrExhausted) {
		return err.Error()
	}
	if !errors.Is(err, lease.ErrLate) { // of a late store the log is told once, not for each packet
		s.Log.Error("dhcp: lease", "mac", q.MAC, "interface", s.Interface, "err", err)
	}
	return "the appliance could not store it; its log says why"
}

// client is a request's sender, and the address that tells which link it is on.
func (s *Server) client(q *request) lease.Client {
	c := lease.Client{MAC: q.MAC, ID: q.clientID(), At: s.us.addr}
	if q.Relay.IsValid() {
		c.At = q.Relay
	}
	if q.Link.IsValid() {
		c.At = q.Link
	}
	return c
}

// giveBack handles RELEASE and DECLINE, which have no answer.
func (s *Server) giveBack(ctx context.Context, q *request, do task) {
	addr, f, text := q.wants(), s.Leases.Release, "released "
	if do == decline {
		f, text = s.Leases.Decline, "found in use, and left alone for now: "
	}
	if err := f(ctx, s.client(q), addr); err != nil {
		s.Log.Debug("dhcp: "+q.String(), "mac", q.MAC, "err", err)
		return
	}
	s.sender.finish(answer{}, q.event(boot.BootInfo{}, text+addr.String()))
}
