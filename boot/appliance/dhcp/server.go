package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/wire"
	"golang.org/x/sync/errgroup"
)

// A Mode says whether we give addresses.
type Mode string

// The modes. Both make the same answer. A ProxyDHCP's lacks the address and
// what belongs to it, which another server gives.
const (
	Proxy Mode = "proxy"
	Full  Mode = "full"
	Off   Mode = "off" // of a Config: no Server runs
)

// Config is what the config says of the servers.
type Config struct {
	Mode  Mode
	Force bool // give addresses even if another server answers
}

// Check reports a mode that there is not.
func (c Config) Check() error {
	if c.Mode != Proxy && c.Mode != Full && c.Mode != Off {
		return fmt.Errorf("%q is not one of %s, %s, %s", c.Mode, Proxy, Full, Off)
	}
	return nil
}

// A Server answers DHCP on one interface. Its fields are set before Listen.
type Server struct {
	Mode      Mode
	Interface string
	Addr      netip.Addr    // what clients are told to fetch from; the zero Addr: the interface's own address
	Leases    *lease.Leases // for full mode; shared by the servers of all interfaces
	Timing    Timing        // zero fields: DefaultTiming's

	// Decide says what a machine gets. It is asked for each message that is
	// answered. In proxy mode those are of clients that want to boot. After an
	// error nothing is said of booting.
	Decide func(context.Context, boot.Request) (boot.BootInfo, error)
	// Note is told of each message that was answered, or on purpose was not.
	Note func(boot.Event)
	// Seen, where set, is told which address a machine has now. In proxy mode
	// that is the one it was seen to ask another server for.
	Seen func(boot.MAC, netip.Addr)
	Log  *slog.Logger // nil discards

	us        identity
	sockets   *sockets
	sender    *sender
	watch     *wire.Watch   // nil before Listen
	malformed atomic.Uint64 // packets that were no DHCP message
}

// identity is the appliance as the clients of one link know it.
type identity struct {
	addr netip.Addr // option 54, and the source of what we send
	next netip.Addr // siaddr: where the files and port 4011 are
}

// Our ports, and the client's: RFC 2131 section 4.1, PXE 2.1 section 2.2.
const (
	portServer = 67
	portClient = 68
	portBINL   = 4011
)

// Check reports what is missing in a Server's fields.
func (s *Server) Check() error {
	switch {
	case s.Mode != Proxy && s.Mode != Full:
		return fmt.Errorf("dhcp: mode %q is neither %s nor %s", s.Mode, Proxy, Full)
	case s.Mode == Full && s.Leases == nil:
		return errors.New("dhcp: full mode without subnets")
	case s.Addr.IsValid() && !s.Addr.Is4():
		return fmt.Errorf("dhcp: %s is not an IPv4 address to advertise", s.Addr)
	}
	return nil
}

// Listen opens port 67, and 4011 in proxy mode. The error of a busy port names
// it and says what to do.
func (s *Server) Listen() error {
	if err := s.Check(); err != nil {
		return err
	}
	s.Timing = s.Timing.OrDefault()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	return nil
}

func (s *Server) open() error {
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.Interface, err)
	}
	if s.us.addr, err = ownAddr(ifi, s.Addr); err != nil {
		return err
	}
	if s.us.next = s.Addr; !s.us.next.IsValid() {
		s.us.next = s.us.addr
	}
	ports := []uint16{portServer}
	if s.Mode == Proxy {
		ports = append(ports, portBINL)
	}
	if s.sockets, err = openSockets(ifi, s.us, ports); err != nil {
		return err
	}
	if s.watch, err = wire.NewWatch("dhcp", ifi, s.us.addr, s.Log); err != nil {
		s.sockets.close()
		return err
	}
	s.sender = newSender(s.Note, s.Log.With("interface", s.Interface))
	s.sender.transmit = s.sockets.transmit
	return nil
}

// ownAddr finds the interface's IPv4 address whose network holds near. Without
// such a one it is the first.
func ownAddr(ifi *net.Interface, near netip.Addr) (netip.Addr, error) {
	list, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w", ifi.Name, err)
	}
	var first netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		if near.IsValid() && p.Contains(near) {
			return p.Addr(), nil
		}
		if !first.IsValid() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return first, fmt.Errorf("interface %s has no IPv4 address", ifi.Name)
	}
	return first, nil
}

// Run answers until ctx ends, and returns nil then. It calls Listen unless
// that was done, and again for an interface that was replaced.
func (s *Server) Run(ctx context.Context) error {
	if s.watch == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	defer func() {
		if n := s.malformed.Load(); n > 0 {
			s.Log.Info("dhcp: some packets were no DHCP messages", "interface", s.Interface, "packets", n)
		}
	}()
	return wire.Keep(ctx, s.Timing.Look, s.serve, s.Listen, func(err error) {
		s.Log.Warn("dhcp: listen again", "interface", s.Interface, "err", err)
	})
}

// serve answers on what Listen opened, and closes it.
func (s *Server) serve(ctx context.Context) error {
	defer s.sockets.close()
	defer s.watch.Close()
	s.Log.Info("dhcp", "mode", s.Mode, "interface", s.Interface, "addr", s.us.addr, "next", s.us.next)
	group, ctx := errgroup.WithContext(ctx)
	for port, conn := range s.sockets.conns {
		context.AfterFunc(ctx, func() { conn.Close() }) // wakes the reader; Wait ends ctx in any case
		group.Go(func() error { return s.receive(ctx, conn, port) })
	}
	group.Go(func() error { return s.watch.Run(ctx, s.Timing.Look) })
	err := group.Wait()
	s.sender.waiting.Wait() // ctx has ended
	return err
}
