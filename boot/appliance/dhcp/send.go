package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/limit"
	"github.com/bootlace/bootlace/boot/wire"
	"golang.org/x/sync/semaphore"
)

// Bounds of answers.
const (
	// maxDelayed is how many answers wait at a time, of 1.5 KB at most. More
	// are sent at once.
	maxDelayed = 64

	// A relay may have a bench of 400 machines behind it that were switched on
	// at once. Each sends a DISCOVER and a REQUEST, and the next 4 s later. 200
	// answers of 576 bytes a second are 0.9 Mbit/s.
	rateBurst     = 1000
	ratePerSecond = 200
)

var errRate = errors.New("too many answers to that address")

// A sender sends answers, some of them later, and notes them.
type sender struct {
	transmit func(answer) error // of sockets; an in-memory end in tests
	note     func(boot.Event)
	log      *slog.Logger        // knows the interface
	waiting  sync.WaitGroup      // answers that are delayed,
	delayed  *semaphore.Weighted // and how many more may be
}

func newSender(note func(boot.Event), log *slog.Logger) *sender {
	return &sender{note: note, log: log, delayed: semaphore.NewWeighted(maxDelayed)}
}

// send sends an answer, where there is one, and notes it. An answer that is to
// be delayed goes out later, unless too many wait already.
func (s *sender) send(ctx context.Context, a answer, delay time.Duration, ev boot.Event) {
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
func (s *sender) finish(a answer, ev boot.Event) {
	if a.raw != nil {
		if err := s.transmit(a); err != nil {
			s.log.Warn("dhcp: send", "to", a.to, "mac", ev.MAC, "err", err)
			ev.Text += ", but the answer could not be sent"
		}
	}
	if s.note != nil {
		s.note(ev)
	}
}

// sockets are those of one interface.
type sockets struct {
	us      identity
	ifIndex int
	conns   map[uint16]*net.UDPConn // by port
	frames  *wire.Conn              // for answers to clients without an address
	rate    *limit.Rate             // of answers by IP
}

// openSockets opens the ports. Where it fails it closes what it opened.
func openSockets(ifi *net.Interface, us identity, ports []uint16) (_ *sockets, err error) {
	s := &sockets{us: us, ifIndex: ifi.Index, conns: map[uint16]*net.UDPConn{}, rate: limit.NewRate(rateBurst, ratePerSecond)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, port := range ports {
		conn, err := wire.Listen(ifi, "udp4", port)
		if err != nil {
			return nil, err
		}
		s.conns[port] = conn
	}
	s.frames, err = wire.Open(ifi, wire.Nothing)
	return s, err
}

func (s *sockets) close() {
	for _, conn := range s.conns {
		conn.Close()
	}
	if s.frames != nil {
		s.frames.Close()
	}
}

// transmit sends by a frame of our own, or from the port that was asked.
func (s *sockets) transmit(a answer) error {
	if a.frame {
		from := netip.AddrPortFrom(s.us.addr, portServer)
		return s.frames.Send(wire.UDP4(s.frames.MAC, a.mac, from, a.to, a.raw))
	}
	if !s.rate.Take(a.to.Addr(), time.Now()) {
		return errRate
	}
	return wire.SendFrom(s.conns[a.port], s.ifIndex, s.us.addr, a.to, a.raw)
}
