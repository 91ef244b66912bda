package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// A network gets the machine its address and keeps it.
type network struct {
	iface   string       // the only link to use, "" for all
	server  netip.Addr   // the appliance, where the command line names it
	addr    netip.Prefix // of the link, where the command line gives one
	machine *machine
	console *console
	log     *slog.Logger
	timing  Timing
	turn    int // of links, see static
}

// lease gets the machine an address and finds the appliance. It is patient:
// only the end of ctx is an error.
func (n *network) lease(ctx context.Context) (*lease, error) {
	if n.addr.IsValid() {
		return n.static(ctx)
	}
	return n.obtain(ctx, from(n.server))
}

// obtain takes the offer that pick chooses, from discovery to ACK.
func (n *network) obtain(ctx context.Context, choose pick) (*lease, error) {
	wait := backoff{first: n.timing.Discover, most: n.timing.DiscoverMax}
	for {
		c, err := n.discover(ctx, n.iface, choose)
		if err != nil {
			return nil, err
		}
		l, err := n.request(ctx, c)
		if err == nil {
			l.again = anyAddress
			if l.appliance.IsValid() {
				l.again = from(l.appliance)
			}
			return l, nil
		}
		n.console.say("%v", err)
		if sleep(ctx, wait.wait()); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// request takes an offer and sets its address on the link.
func (n *network) request(ctx context.Context, c choice) (*lease, error) {
	nc, err := nclient4.New(c.link.Name, nclient4.WithTimeout(n.timing.Request), nclient4.WithRetry(n.timing.Requests))
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", c.link.Name, err)
	}
	defer nc.Close()
	d, err := nc.RequestFromOffer(ctx, c.msg, n.modifiers()...)
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", c.link.Name, err)
	}
	l := &lease{link: c.link, appliance: c.appliance, dhcp: d}
	if err := n.configure(l); err != nil {
		return nil, err
	}
	server, _ := c.server()
	n.console.say("%s has %s from %s for %v", l.link.Name, l.addr, server, d.ACK.IPAddressLeaseTime(0))
	return l, nil
}

// configure puts the address of the lease on its link, and its default route.
func (n *network) configure(l *lease) error {
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
				n.log.Warn("dhcp", "err", err) // the appliance is most likely on this side of it
			}
			break
		}
	}
	return nil
}

// static sets the address of the command line. The appliance is the one that is
// named there too. Otherwise it is one that answers a DISCOVER. Where several
// links have a cable they take turns, a turn a call.
func (n *network) static(ctx context.Context) (*lease, error) {
	l := &lease{addr: n.addr, appliance: n.server}
	if n.server.IsValid() {
		links, err := link.Carrier(ctx, n.log, n.iface)
		if err != nil {
			return nil, err
		}
		l.link = links[n.turn%len(links)]
		n.turn++
	} else {
		c, err := n.discover(ctx, n.iface, anyAppliance)
		if err != nil {
			return nil, err
		}
		l.link, l.appliance = c.link, c.appliance
	}
	if err := l.link.SetAddr(l.addr); err != nil {
		return nil, err
	}
	n.console.say("%s has %s, which the command line gives it", l.link.Name, l.addr)
	return l, nil
}

// keep renews the lease until ctx ends: a flash can outlast it. What the server
// takes away is asked for anew. Until then the address is used on, as a flash
// that is cut short helps nobody.
func (n *network) keep(ctx context.Context, l *lease) {
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
		err := n.renew(ctx, l, expires)
		if err == nil {
			n.log.Info("lease renewed", "interface", l.link.Name, "addr", l.addr)
			continue
		}
		n.console.say("lease of %s is lost: %v", l.addr, err)
		for {
			c, err := n.discover(ctx, l.link.Name, l.again)
			if err != nil {
				return
			}
			fresh, err := n.request(ctx, c)
			if err == nil {
				l.dhcp, l.addr = fresh.dhcp, fresh.addr
				break
			}
			n.console.say("%v", err)
			if sleep(ctx, n.timing.DiscoverMax); ctx.Err() != nil {
				return
			}
		}
	}
}

// renewal is when to ask for more time: what the server says (T1). Where that
// makes no sense it is half of the term.
func renewal(ack *dhcpv4.DHCPv4, term time.Duration) time.Duration {
	t1 := ack.IPAddressRenewalTime(term / 2)
	if t1 <= 0 || t1 >= term {
		t1 = term / 2
	}
	return t1
}

// renew asks for more time until it is granted, refused, or up.
func (n *network) renew(ctx context.Context, l *lease, expires time.Time) error {
	for {
		nc, err := nclient4.New(l.link.Name, nclient4.WithTimeout(n.timing.Request), nclient4.WithRetry(n.timing.Requests))
		if err == nil {
			var d *nclient4.Lease
			d, err = nc.Renew(ctx, l.dhcp, n.modifiers()...)
			nc.Close()
			if err == nil {
				l.dhcp = d
				return n.configure(l)
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
		sleep(ctx, min(max(left/2, n.timing.RenewMin), left))
	}
}
