package ra

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
	"golang.org/x/sync/errgroup"
)

// A Server answers router solicitations (RFC 4861 section 6.1.1) on one
// interface. It also works where the interface has IPv6 switched off. Its
// fields are set before Listen.
type Server struct {
	Interface string
	Managed   netip.Prefix // network whose addresses are given by DHCPv6; the zero Prefix: none
	Timing    Timing       // zero fields: DefaultTiming's
	Log       *slog.Logger // nil discards

	conn  *wire.Conn // nil before Listen
	addr  netip.Addr // ours, link-local
	watch *wire.Watch
}

// Listen opens the packet socket.
func (s *Server) Listen() error {
	s.Timing = s.Timing.OrDefault()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		s.close()
		return fmt.Errorf("ra: hear routers on %s: %w", s.Interface, err)
	}
	return nil
}

func (s *Server) open() error {
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return err
	}
	if s.conn, err = wire.Open(ifi, wire.IPv6); err != nil {
		return err
	}
	s.addr = wire.LinkLocal(s.conn.MAC)
	if err := s.conn.Filter(wire.Routers()); err != nil {
		return err
	}
	for _, group := range []netip.Addr{wire.AllNodes, wire.AllRouters} {
		if err := s.conn.Join(group); err != nil {
			return err
		}
	}
	s.watch, err = wire.NewWatch("ra", ifi, netip.Addr{}, s.Log)
	return err
}

func (s *Server) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	if s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// Run answers until ctx ends, and returns nil then. It calls Listen unless
// that was done, and again for an interface that was replaced.
func (s *Server) Run(ctx context.Context) error {
	if s.conn == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	return wire.Keep(ctx, s.Timing.Look, s.serve, s.Listen, func(err error) {
		s.Log.Warn("ra: listen again", "interface", s.Interface, "err", err)
	})
}

// serve answers on what Listen opened, and closes it.
func (s *Server) serve(ctx context.Context) error {
	defer s.close()
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })()
	group.Go(func() error { return s.watch.Run(ctx, s.Timing.Look) })
	group.Go(func() error { return s.receive(ctx) })
	return group.Wait()
}

// receive answers until ctx ends. What could not be sent is not sent again: the
// machine asks again.
func (s *Server) receive(ctx context.Context) error {
	// Solicit before the first answer: a router that replies by unicast is
	// heard by the asker alone.
	s.solicit()
	others := newRouters(s.Timing, time.Now())
	buf := make([]byte, wire.MaxMessage)
	for {
		n, err := s.conn.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(s.Timing.Pause): // ENETDOWN: until the link is back
			}
			continue
		}
		from, addr, message, ok := wire.ParseICMP6(buf[:n])
		if !ok || from == s.conn.MAC {
			continue
		}
		do := others.message(message[0], time.Now())
		if do.report {
			s.Log.Info("ra: an IPv6 router is here, "+addr.String()+": it answers who asks for one", "interface", s.Interface)
		}
		if do.answer {
			s.answer(from, addr)
		}
		if do.solicit {
			s.solicit()
		}
	}
}

// answer tells the machine at an address that we are no default router.
func (s *Server) answer(to wire.MAC, addr netip.Addr) {
	if addr.IsUnspecified() {
		to, addr = wire.GroupMAC(wire.AllNodes), wire.AllNodes
	}
	s.conn.Send(wire.ICMP6(s.conn.MAC, to, s.addr, addr, wire.Advertise(s.conn.MAC, s.Managed)))
}

// solicit asks who else is a router.
func (s *Server) solicit() {
	s.conn.Send(wire.ICMP6(s.conn.MAC, wire.GroupMAC(wire.AllRouters), s.addr, wire.AllRouters, wire.Solicit(wire.MAC{})))
}
