package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/bootlace/bootlace/boot/link"
)

// A lease is an address on a link, and where the appliance is from there.
type lease struct {
	link      link.Link
	addr      netip.Prefix
	appliance netip.Addr
	dhcp      *nclient4.Lease // nil where the address was given on the command line
	again     pick            // which offer to take when the lease is lost
}

// lease gets the machine an address and finds the appliance. It is patient:
// only the end of ctx is an error.
func (s *Session) lease(ctx context.Context) (*lease, error) {
	if s.cfg.Addr.IsValid() {
		return s.static(ctx)
	}
	return s.obtain(ctx, from(s.cfg.Server))
}

// obtain takes the offer that pick chooses, from discovery to ACK.
func (s *Session) obtain(ctx context.Context, choose pick) (*lease, error) {
	wait := backoff{first: s.timing.Discover, most: s.timing.DiscoverMax}
	for {
		c, err := s.discover(ctx, s.cfg.Interface, choose)
		if err != nil {
			return nil, err
		}
		l, err := s.request(ctx, c)
		if err == nil {
			l.again = anyAddress
			if l.appliance.IsValid() {
				l.again = from(l.appliance)
			}
			return l, nil
		}
		s.say("%v", err)
		if sleep(ctx, wait.wait()); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// request takes an offer and sets its address on the link.
func (s *Session) request(ctx context.Context, c choice) (*lease, error) {
	nc, err := nclient4.New(c.link.Name, nclient4.WithTimeout(s.timing.Request), nclient4.WithRetry(s.timing.Requests))
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", c.link.Name, err)
	}
	defer nc.Close()
	d, err := nc.RequestFromOffer(ctx, c.msg, s.modifiers()...)
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", c.link.Name, err)
	}
	l := &lease{link: c.link, appliance: c.appliance, dhcp: d}
	if err := s.configure(l); err != nil {
		return nil, err
	}
	server, _ := c.server()
	s.say("%s has %s from %s for %v", l.link.Name, l.addr, server, d.ACK.IPAddressLeaseTime(0))
	return l, nil
}

// configure puts the address of the lease on its link, and its default route.
func (s *Session) configure(l *lease) error {
	addr, ok := address(l.dhcp.ACK)
	if !ok {
		return fmt.Errorf("dhcp on %s: ACK without a usable address", l.link.Name)
	}
	if l.addr.Addr() == addr.Addr() && l.dhcp.ACK.SubnetMask() == nil {
		addr = l.addr // a renewal need not say the mask again
	}
	if err := l.link.SetAddr(addr); err != nil {
		return err
	}
	l.addr = addr
	for _, ip := range l.dhcp.ACK.Router() {
		if r, ok := ipv4(ip); ok && addr.Contains(r) {
			if err := l.link.SetRoute(r); err != nil {
				s.Log.Warn("dhcp", "err", err) // the appliance is most likely on this side of it
			}
			break
		}
	}
	return nil
}

// static sets the address of the command line. The appliance is the one that
// is named there too, or else one that answers a DISCOVER. Where several links
// have a cable they take turns, a turn a call.
func (s *Session) static(ctx context.Context) (*lease, error) {
	l := &lease{addr: s.cfg.Addr, appliance: s.cfg.Server}
	if s.cfg.Server.IsValid() {
		links, err := link.Carrier(ctx, s.Log, s.cfg.Interface)
		if err != nil {
			return nil, err
		}
		l.link = links[s.turn%len(links)]
		s.turn++
	} else {
		c, err := s.discover(ctx, s.cfg.Interface, anyAppliance)
		if err != nil {
			return nil, err
		}
		l.link, l.appliance = c.link, c.appliance
	}
	if err := l.link.SetAddr(l.addr); err != nil {
		return nil, err
	}
	s.say("%s has %s, which the command line gives it", l.link.Name, l.addr)
	return l, nil
}

// keep renews the lease until ctx ends: a flash can outlast it. What the
// server takes away is asked for anew; until then the address is used on, as
// a flash that is cut short helps nobody.
func (s *Session) keep(ctx context.Context, l *lease) {
	if l.dhcp == nil {
		return
	}
	for {
		term := l.dhcp.ACK.IPAddressLeaseTime(0)
		if term <= 0 || term.Seconds() >= 0xffffffff {
			return // RFC 2131 section 3.3: for ever
		}
		expires := l.dhcp.CreationTime.Add(term)
		if sleep(ctx, renewal(l.dhcp.ACK, term)); ctx.Err() != nil {
			return
		}
		err := s.renew(ctx, l, expires)
		if err == nil {
			s.Log.Info("lease renewed", "link", l.link.Name, "addr", l.addr)
			continue
		}
		s.say("lease of %s is lost: %v", l.addr, err)
		for {
			c, err := s.discover(ctx, l.link.Name, l.again)
			if err != nil {
				return
			}
			fresh, err := s.request(ctx, c)
			if err == nil {
				l.dhcp, l.addr = fresh.dhcp, fresh.addr
				break
			}
			s.say("%v", err)
			if sleep(ctx, s.timing.DiscoverMax); ctx.Err() != nil {
				return
			}
		}
	}
}

// renewal is when to ask for more time: what the server says (T1), or half of
// the term where that makes no sense.
func renewal(ack *dhcpv4.DHCPv4, term time.Duration) time.Duration {
	t1 := ack.IPAddressRenewalTime(term / 2)
	if t1 <= 0 || t1 >= term {
		t1 = term / 2
	}
	return t1
}

// renew asks for more time until it is granted, refused, or up.
func (s *Session) renew(ctx context.Context, l *lease, expires time.Time) error {
	for {
		nc, err := nclient4.New(l.link.Name, nclient4.WithTimeout(s.timing.Request), nclient4.WithRetry(s.timing.Requests))
		if err == nil {
			var d *nclient4.Lease
			d, err = nc.Renew(ctx, l.dhcp, s.modifiers()...)
			nc.Close()
			if err == nil {
				l.dhcp = d
				return s.configure(l)
			}
		}
		if nak := new(nclient4.ErrNak); errors.As(err, &nak) || ctx.Err() != nil {
			return err
		}
		left := time.Until(expires)
		if left <= 0 {
			return fmt.Errorf("it has expired: %w", err)
		}
		// RFC 2131 section 4.4.5: half of what is left, and not below a minute.
		sleep(ctx, min(max(left/2, s.timing.RenewMin), left))
	}
}
