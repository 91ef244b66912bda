// Package dhcp answers DHCP on a link, for machines that boot from it: as a
// ProxyDHCP beside the server that gives addresses, or as that server itself.
//
// How a machine boots, as seen from here. It broadcasts a DISCOVER that says
// what it is: option 60 PXEClient, 93 its architecture, 97 its UUID. We answer
// with the file its kind of loader wants (package board knows them), and in
// full mode with an address:
//
//	iPXE          takes siaddr and the file from the offer, proxy or not. In
//	              full mode option 175.176 saves it the wait for a ProxyDHCP.
//	UEFI (EDK2)   in proxy mode is offered only the words PXEClient, gets its
//	              address elsewhere and asks us on port 4011 for the file; in
//	              full mode takes the file from the offer, which then must not
//	              say PXEClient.
//	UEFI HTTP     wants option 60 HTTPClient in the offer, and a URL.
//	U-Boot        takes siaddr, asks there for boot.scr.uimg, whatever file was
//	              offered, and then asks by DHCP again, as a UEFI machine, for
//	              an EFI program.
//	PXE ROM       is given iPXE to run on its driver (undionly.kpxe), which
//	              then asks again as iPXE.
//	Raspberry Pi  looks for a text in option 43, and asks for files by names of
//	              its own; a Pi 3 sends no REQUEST after an offer.
//	our own agent is told by option 60 that this is the appliance.
//
// What is said is decided by a pure function (respond); this file has the
// sockets, and the order in which leases and decisions are asked.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// maxMessage is more than any client sends in one datagram on Ethernet.
const maxMessage = 4096

// A Server answers DHCP on one interface. Its fields are set before Listen.
type Server struct {
	Mode      Mode
	Interface string
	Addr      netip.Addr    // what clients are told to fetch from; the zero Addr: the interface's own address
	Leases    *lease.Leases // for full mode; shared by the servers of all interfaces

	// Six, in full mode, are IPv6 networks of which addresses are given by
	// DHCPv6, each on the interface that has an address in it.
	Six []lease.Subnet

	// Decide says what a machine gets. It is asked for each message that is
	// answered: in proxy mode of clients that want to boot, in full mode of all.
	// After an error nothing is said of booting.
	Decide func(context.Context, Hearing) (Reply, error)
	// Note is told of each message that was answered, or on purpose was not.
	Note func(boot.Event)
	// Seen, where set, is told which address a machine has now: ours, or in
	// proxy mode the one it was seen to ask another server for.
	Seen func(boot.MAC, netip.Addr)
	Log  *slog.Logger

	me        self
	index     int
	wire      *wire
	router    *router // nil in proxy mode
	six       *six    // nil where it has no network of Six
	conns     map[uint16]*net.UDPConn
	later     sync.WaitGroup      // answers that wait,
	delayed   *semaphore.Weighted // and room for more of them
	throttle  *throttle           // of answers by IP
	links     *netlink.Handle     // for watch, as long as Run
	malformed atomic.Uint64       // packets that were no DHCP message
	away      atomic.Bool         // what watch found out
}

// Listen opens port 67, and 4011 in proxy mode. The error of a busy port names
// it and says what to do.
func (s *Server) Listen() error {
	if s.Mode == Full && s.Leases == nil {
		return errors.New("dhcp: full mode without subnets")
	}
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return fmt.Errorf("dhcp: interface %s: %w", s.Interface, err)
	}
	if s.me.addr, err = ownAddr(ifi, s.Addr); err != nil {
		return err
	}
	if s.me.next = s.Addr; !s.me.next.IsValid() {
		s.me.next = s.me.addr
	}
	if !s.me.next.Is4() {
		return fmt.Errorf("dhcp: %s is not an IPv4 address to advertise", s.me.next)
	}
	s.index = ifi.Index
	s.delayed = semaphore.NewWeighted(maxDelayed)
	s.throttle = newThrottle()
	s.away.Store(false)
	if s.links == nil {
		if s.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("dhcp: open netlink: %w", err)
		}
	}
	s.conns = map[uint16]*net.UDPConn{}
	ports := []uint16{portServer}
	if s.Mode == Proxy {
		ports = append(ports, portBINL)
	}
	for _, port := range ports {
		conn, err := listen(s.Interface, "udp4", port)
		if err != nil {
			s.close()
			return err
		}
		s.conns[port] = conn
	}
	if s.wire, err = openWire(ifi, 0); err != nil {
		s.close()
		return err
	}
	if s.Mode == Full {
		if s.router, err = openRouter(ifi); err == nil {
			err = s.openSix(ifi)
		}
		if err != nil {
			s.close()
			s.wire.Close()
			return err
		}
	}
	return nil
}

func (s *Server) close() {
	for _, conn := range s.conns {
		conn.Close()
	}
}

// run answers on what Listen opened, and closes it.
func (s *Server) run(ctx context.Context) error {
	defer s.wire.Close()
	s.Log.Info("dhcp", "mode", s.Mode, "interface", s.Interface, "addr", s.me.addr, "next", s.me.next)
	group, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, s.close) // wakes the readers; Wait ends ctx in any case
	for port, conn := range s.conns {
		group.Go(func() error { return s.serve(ctx, conn, port) })
	}
	group.Go(func() error { return s.watch(ctx) })
	if r := s.router; r != nil {
		group.Go(func() error {
			return r.Run(ctx, DefaultTiming, func(text string) { s.Log.Info("dhcp: "+text, "interface", s.Interface) })
		})
	}
	err := group.Wait()
	s.later.Wait() // ctx has ended
	s.close()
	return err
}

// serve handles the packets of one port, one after another.
func (s *Server) serve(ctx context.Context, conn *net.UDPConn, port uint16) error {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("dhcp: port %d of %s: %w", port, s.Interface, err)
		case err != nil:
			// ENETDOWN and the like pass when the link is back.
			s.Log.Warn("dhcp: read", "port", port, "interface", s.Interface, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(DefaultTiming.Pause):
			}
			continue
		}
		s.handle(ctx, conn, buf[:n], from, port)
	}
}

// handle answers one packet.
func (s *Server) handle(ctx context.Context, conn *net.UDPConn, raw []byte, from netip.AddrPort, port uint16) {
	if port == portServer6 {
		s.handleSix(ctx, conn, raw, from)
		return
	}
	p, err := parse(raw)
	if err != nil {
		if !errors.Is(err, errBOOTP) {
			s.malformed.Add(1)
		}
		s.Log.Debug("dhcp: packet ignored", "from", from, "interface", s.Interface, "why", err)
		return
	}
	q := hear(p, s.Interface, from, port)
	q.Next = s.me.next
	do, why := q.task(s.Mode, s.me)
	s.see(q)
	if s.away.Load() {
		do, why = nothing, "came while the interface has not our address"
	}
	if do == nothing {
		s.Log.Debug("dhcp: "+q.String()+" "+why, "mac", q.MAC)
		return
	}
	if do == release || do == decline {
		s.giveBack(ctx, q, do)
		return
	}
	r := s.decide(ctx, q)
	var g grant
	if !r.Silent {
		if g, err = s.grant(ctx, q, do); err != nil {
			s.note(q, r, "no address: "+s.explain(q, err))
			return
		}
	}
	a := respond(q, s.Mode, s.me, r, g)
	if g.lease != nil && (do == bind || q.noRequest()) && s.Seen != nil {
		s.Seen(q.MAC, g.lease.Addr) // before its first RRQ can come
	}
	ev := s.event(q, r, a.text)
	wait := q.delay()
	if a.raw == nil || wait == 0 || !s.delayed.TryAcquire(1) {
		s.finish(conn, a, ev)
		return
	}
	s.later.Go(func() { // q is in the buffer of the next packet by then
		defer s.delayed.Release(1)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			s.finish(conn, a, ev)
		}
	})
}

// maxDelayed is how many answers wait at a time, of 1.5 KB at most; more are
// sent at once.
const maxDelayed = 64

// finish sends an answer, where there is one, and notes it.
func (s *Server) finish(conn *net.UDPConn, a answer, ev boot.Event) {
	if a.raw != nil {
		if err := s.send(conn, a); err != nil {
			s.Log.Warn("dhcp: send", "to", a.to, "mac", ev.MAC, "interface", s.Interface, "err", err)
			ev.Text += ", but the answer could not be sent"
		}
	}
	if s.Note != nil {
		s.Note(ev)
	}
}

func (s *Server) decide(ctx context.Context, q *request) Reply {
	r, err := s.Decide(ctx, q.Hearing)
	if err != nil {
		s.Log.Error("dhcp: decide", "mac", q.MAC, "interface", s.Interface, "err", err)
		return Reply{}
	}
	return r
}

// grant asks the leases for what a request needs. An error is why there is no
// address for it.
func (s *Server) grant(ctx context.Context, q *request, do task) (g grant, err error) {
	if s.Mode != Full {
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
		if err == nil && q.noRequest() {
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

// explain says for the journal, which anyone can read, why there is no address.
// What the store says of its file and the disk is for the log alone.
func (s *Server) explain(q *request, err error) string {
	if errors.Is(err, lease.ErrNoSubnet) || errors.Is(err, lease.ErrExhausted) {
		return err.Error()
	}
	s.Log.Error("dhcp: lease", "mac", q.MAC, "interface", s.Interface, "err", err)
	return "the appliance could not store it; its log says why"
}

func (s *Server) client(q *request) lease.Client {
	c := lease.Client{MAC: q.MAC, ID: q.id(), At: s.me.addr}
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
	s.note(q, Reply{}, text+addr.String())
}

// see learns addresses that another server gave.
func (s *Server) see(q *request) {
	if s.Mode != Proxy || s.Seen == nil || q.Relay.IsValid() {
		return
	}
	if addr := q.wants(); addr.IsValid() && q.boots() && q.MessageType() == dhcpv4.MessageTypeRequest {
		s.Seen(q.MAC, addr)
	}
}

func (s *Server) send(conn *net.UDPConn, a answer) error {
	if a.link {
		return s.wire.send(a.mac, netip.AddrPortFrom(s.me.addr, portServer), a.to, a.raw)
	}
	if !s.throttle.take(a.to.Addr(), time.Now()) {
		return errThrottled
	}
	if a.to.Addr().Is6() {
		_, err := conn.WriteToUDPAddrPort(a.raw, a.to) // from our link-local address, as it is one
		return err
	}
	return sendFrom(conn, s.me.addr, s.index, a.to, a.raw)
}

func (s *Server) note(q *request, r Reply, text string) {
	if s.Note != nil {
		s.Note(s.event(q, r, text))
	}
}

func (s *Server) event(q *request, r Reply, text string) boot.Event {
	return boot.Event{
		Machine: r.Machine, MAC: q.MAC, Kind: boot.KindDHCP, Proto: "dhcp", File: r.Bootfile,
		Text: q.String() + ": " + text,
	}
}
