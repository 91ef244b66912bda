package dhcp

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/wire"
)

var errRate = errors.New("too many answers to that address")

// send sends an answer, where there is one, and notes it. An answer that is to
// be delayed goes out later, unless too many wait already.
func (s *Server) send(ctx context.Context, a answer, delay time.Duration, ev boot.Event) {
	if a.raw == nil || delay == 0 || !s.delayed.TryAcquire(1) {
		s.finish(a, ev)
		return
	}
	s.waiting.Go(func() {
		defer s.delayed.Release(1)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			s.finish(a, ev)
		}
	})
}

// finish sends now.
func (s *Server) finish(a answer, ev boot.Event) {
	if a.raw != nil {
		if err := s.transmit(a); err != nil {
			s.Log.Warn("dhcp: send", "to", a.to, "mac", ev.MAC, "interface", s.Interface, "err", err)
			ev.Text += ", but the answer could not be sent"
		}
	}
	if s.Note != nil {
		s.Note(ev)
	}
}

// toWire sends by a frame of our own, or from the port that was asked.
func (s *Server) toWire(a answer) error {
	if a.frame {
		from := netip.AddrPortFrom(s.us.addr, portServer)
		return s.frames.Send(wire.UDP4(s.frames.MAC, a.mac, from, a.to, a.raw))
	}
	if !s.rate.Take(a.to.Addr(), time.Now()) {
		return errRate
	}
	return wire.SendFrom(s.conns[a.port], s.ifIndex, s.us.addr, a.to, a.raw)
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

func (s *Server) note(q *request, info boot.BootInfo, text string) {
	if s.Note != nil {
		s.Note(s.event(q, info, text))
	}
}

func (s *Server) event(q *request, info boot.BootInfo, text string) boot.Event {
	return boot.Event{
		Machine: info.Machine, MAC: q.MAC, Kind: boot.KindDHCP, Proto: "dhcp", File: info.Bootfile,
		Text: q.String() + ": " + text,
	}
}
