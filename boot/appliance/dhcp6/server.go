package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sync/errgroup"
)

// A Server answers DHCPv6 on one interface. Its fields are set before Listen.
type Server struct {
	Interface string
	Addr      netip.Addr     // ours on that interface, where the files are; never given
	Subnet    lease.Subnet   // the network that holds Addr
	Leases    *lease.Leases6 // of that network; shared by the servers of all interfaces
	Timing    wire.Timing    // zero fields: wire.DefaultTiming's

	// Decide says what a machine gets. It is not asked for one whose MAC is
	// not known: that gets an address, and nothing to boot. After an error
	// nothing is said of booting.
	Decide func(context.Context, boot.Request) (boot.BootInfo, error)
	// Note, where set, is told of each message that was answered, or on purpose
	// was not.
	Note func(boot.Event)
	// Seen, where set, is told which address a machine has now.
	Seen func(boot.MAC, netip.Addr)
	Log  *slog.Logger // nil discards

	duid  dhcpv6.DUID // our identifier
	conn  *net.UDPConn
	watch *wire.Watch // nil before Listen
}

const portServer = 547 // RFC 8415 section 7.2

// allServers is All_DHCP_Relay_Agents_and_Servers, RFC 8415 section 7.1.
var allServers = netip.MustParseAddr("ff02::1:2")

// Check reports what is wrong with a Server's fields.
func (s *Server) Check() error {
	switch {
	case s.Leases == nil:
		return errors.New("dhcp6: no leases")
	case !s.Addr.Is6() || !s.Subnet.Prefix.Contains(s.Addr):
		return fmt.Errorf("dhcp6: %s is no address of the network %s", s.Addr, s.Subnet.Prefix)
	}
	return nil
}

// Listen opens port 547. The error of a busy port names it and says what to do.
func (s *Server) Listen() error {
	if err := s.Check(); err != nil {
		return err
	}
	s.Timing = s.Timing.OrDefault()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		s.close()
		return fmt.Errorf("dhcp6: %w", err)
	}
	return nil
}

func (s *Server) open() error {
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.Interface, err)
	}
	s.duid = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr}
	if s.conn, err = wire.Listen(ifi, "udp6", portServer, allServers); err != nil {
		return err
	}
	s.watch, err = wire.NewWatch("dhcp6", ifi, s.Addr, s.Log)
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
	if s.watch == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	return wire.Keep(ctx, s.Timing.Look, s.serve, s.Listen, func(err error) {
		s.Log.Warn("dhcp6: listen again", "interface", s.Interface, "err", err)
	})
}

// serve answers on what Listen opened, and closes it.
func (s *Server) serve(ctx context.Context) error {
	defer s.close()
	s.Log.Info("dhcp6", "interface", s.Interface, "addr", s.Addr, "network", s.Subnet.Prefix)
	group, ctx := errgroup.WithContext(ctx)
	conn := s.conn
	context.AfterFunc(ctx, func() { conn.Close() }) // wakes the reader; Wait ends ctx in any case
	group.Go(func() error { return s.watch.Run(ctx, s.Timing.Look) })
	group.Go(func() error { return s.receive(ctx) })
	return group.Wait()
}

// receive handles the packets, one after another.
func (s *Server) receive(ctx context.Context) error {
	err := wire.Receive(ctx, s.conn, s.Timing.Pause, func(err error) {
		s.Log.Warn("dhcp6: read", "interface", s.Interface, "err", err)
	}, func(raw []byte, from netip.AddrPort) {
		if s.watch.Away() {
			s.Log.Debug("dhcp6: a packet came while the interface has not our address", "from", from, "interface", s.Interface)
			return
		}
		s.handle(ctx, raw, from)
	})
	if err != nil {
		return fmt.Errorf("dhcp6: port %d of %s: %w", portServer, s.Interface, err)
	}
	return nil
}

// handle answers one packet: parse, decide, lease, respond, send.
func (s *Server) handle(ctx context.Context, raw []byte, from netip.AddrPort) {
	q, err := parse(raw, s.Interface, from, s.duid)
	if err != nil {
		s.Log.Debug("dhcp6: packet ignored", "from", from, "interface", s.Interface, "why", err)
		return
	}
	q.Server = s.Addr
	info := s.decide(ctx, q)
	a := answer{text: "not answered, as decided"}
	if !info.Silent {
		given, err := s.grant(ctx, q)
		if a = respond(q, s.identity(), info, given); err != nil {
			a = s.explain(q, err)
		}
		for _, g := range given {
			if g.addr.IsValid() && s.Seen != nil && q.MAC != (boot.MAC{}) {
				s.Seen(q.MAC, g.addr) // before its first read request can come
			}
		}
	}
	s.send(a, boot.Event{
		Machine: info.Machine, MAC: q.MAC, Kind: boot.KindDHCP, Proto: "dhcp6", File: info.Bootfile,
		Text: q.String() + ": " + a.text,
	})
}

// explain says for the journal, which anyone can read, why there is no answer.
// What the store says is for the log alone, which was told of one that is late.
func (s *Server) explain(q *request, err error) answer {
	if !errors.Is(err, lease.ErrLate) {
		s.Log.Error("dhcp6: lease", "mac", q.MAC, "interface", s.Interface, "err", err)
	}
	return answer{text: "not answered: the appliance could not store it; its log says why"}
}

// decide asks what the machine may boot.
func (s *Server) decide(ctx context.Context, q *request) boot.BootInfo {
	if q.MAC == (boot.MAC{}) {
		return boot.BootInfo{}
	}
	info, err := s.Decide(ctx, q.Request)
	if err != nil {
		s.Log.Error("dhcp6: decide", "mac", q.MAC, "interface", s.Interface, "err", err)
		return boot.BootInfo{}
	}
	return info
}

// send sends an answer, where there is one, and notes it. It leaves from our
// link-local address, since it goes to one.
func (s *Server) send(a answer, ev boot.Event) {
	if a.raw != nil {
		if _, err := s.conn.WriteToUDPAddrPort(a.raw, a.to); err != nil {
			s.Log.Warn("dhcp6: send", "to", a.to, "mac", ev.MAC, "interface", s.Interface, "err", err)
			ev.Text += ", but the answer could not be sent"
		}
	}
	if s.Note != nil {
		s.Note(ev)
	}
}
