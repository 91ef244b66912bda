package dhcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// errReplaced: the interface is another than the one that was listened on.
var errReplaced = errors.New("interface was replaced")

// Run answers until ctx ends, and returns nil then. It calls Listen unless
// that was done, and again for an interface that was away.
func (s *Server) Run(ctx context.Context) error {
	if s.wire == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	defer s.links.Close()
	defer func() {
		if n := s.malformed.Load(); n > 0 {
			s.Log.Info("dhcp: some packets were no DHCP messages", "interface", s.Interface, "packets", n)
		}
	}()
	for {
		err := s.run(ctx)
		if !errors.Is(err, errReplaced) {
			return err
		}
		for err = s.Listen(); err != nil; err = s.Listen() {
			s.Log.Warn("dhcp: listen again", "interface", s.Interface, "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(DefaultTiming.Look):
			}
		}
	}
}

// watch looks after the interface until ctx ends. Sockets stay with the one
// they were opened on: once a USB adapter was unplugged, or a VLAN made anew,
// they hear nothing more, and no error says so. It returns errReplaced then.
// An interface that lost its address is still heard, but what we would tell a
// machine leads nowhere: it is not answered.
func (s *Server) watch(ctx context.Context) error {
	look := time.NewTicker(DefaultTiming.Look)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		why := s.look()
		if errors.Is(why, errReplaced) {
			return why
		}
		switch was := s.away.Swap(why != nil); {
		case why != nil && !was:
			s.Log.Error("dhcp: nobody is answered", "interface", s.Interface, "why", why)
		case why == nil && was:
			s.Log.Info("dhcp: the interface is as it was", "interface", s.Interface)
		}
	}
}

// look says what is wrong with the interface. It asks by a socket that was
// opened with the others, in whose network namespace they are.
func (s *Server) look() error {
	link, err := s.links.LinkByName(s.Interface)
	if err != nil {
		return fmt.Errorf("look for it: %w", err)
	}
	list, err := s.links.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("read its addresses: %w", err)
	}
	has := slices.ContainsFunc(list, func(a netlink.Addr) bool { return addr4(a.IP) == s.me.addr })
	switch {
	case !has:
		return fmt.Errorf("%s is not its address any more", s.me.addr)
	case link.Attrs().Index != s.index:
		return errReplaced
	}
	return nil
}
