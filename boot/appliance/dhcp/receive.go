package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/wire"
)

// receive handles the packets of one port, one after another.
func (s *Server) receive(ctx context.Context, conn *net.UDPConn, port uint16) error {
	err := wire.Receive(ctx, conn, s.Timing.Pause, func(err error) {
		s.Log.Warn("dhcp: read", "port", port, "interface", s.Interface, "err", err)
	}, func(raw []byte, from netip.AddrPort) {
		s.handle(ctx, raw, from, port)
	})
	if err != nil {
		return fmt.Errorf("dhcp: port %d of %s: %w", port, s.Interface, err)
	}
	return nil
}

// handle takes one packet along the road: parse, want, decide, lease, respond,
// send. raw is read into again once it returns.
func (s *Server) handle(ctx context.Context, raw []byte, from netip.AddrPort, port uint16) {
	q, err := parse(raw, s.Interface, from, port)
	if err != nil {
		if !errors.Is(err, errBOOTP) {
			s.malformed.Add(1)
		}
		s.Log.Debug("dhcp: packet ignored", "from", from, "interface", s.Interface, "why", err)
		return
	}
	q.Server = s.us.next
	do, why := q.task(s.Mode, s.us)
	s.learnAddress(q)
	if s.watch.Away() {
		do, why = nothing, "came while the interface has not our address"
	}
	switch do {
	case nothing:
		s.Log.Debug("dhcp: "+q.String()+" "+why, "mac", q.MAC)
		return
	case release, decline:
		s.giveBack(ctx, q, do)
		return
	}
	info := s.decide(ctx, q)
	given, err := s.grant(ctx, q, do, info)
	if err != nil {
		s.sender.finish(answer{}, q.event(info, "no address: "+s.explain(q, err)))
		return
	}
	a := respond(q, s.Mode, s.us, info, given)
	if given.lease != nil && (do == bind || q.skipsRequest()) && s.Seen != nil {
		s.Seen(q.MAC, given.lease.Addr) // before its first read request can come
	}
	s.sender.send(ctx, a, q.delay(), q.event(info, a.text))
}

// decide asks what the machine may boot.
func (s *Server) decide(ctx context.Context, q *request) boot.BootInfo {
	info, err := s.Decide(ctx, q.Request)
	if err != nil {
		s.Log.Error("dhcp: decide", "mac", q.MAC, "interface", s.Interface, "err", err)
		return boot.BootInfo{}
	}
	return info
}

// learnAddress learns which address another server gave.
func (s *Server) learnAddress(q *request) {
	if s.Mode != Proxy || s.Seen == nil || q.Relay.IsValid() {
		return
	}
	if addr := q.wants(); addr.IsValid() && q.confirms() {
		s.Seen(q.MAC, addr)
	}
}
