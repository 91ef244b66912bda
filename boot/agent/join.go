package agent

import (
	"context"
	"net/netip"

	"github.com/bootlace/bootlace/boot/link"
)

// Addr is the address that the command line gives the machine; it is not
// valid where it gives none.
func (s *Session) Addr() netip.Prefix { return s.cfg.Addr }

// Join gets the machine an address of the network's own server and keeps it
// until ctx ends: what an appliance needs that boots without an address in its
// config. It is patient: only the end of ctx is an error.
func (s *Session) Join(ctx context.Context) (link.Link, error) {
	l, err := s.obtain(ctx, anyAddress)
	if err != nil {
		return link.Link{}, err
	}
	go s.forever(ctx, "lease", func() error { s.keep(ctx, l); <-ctx.Done(); return nil })
	return l.link, nil
}

// anyAddress picks the first offer with an address.
func anyAddress(offers []offer) (c choice, ok, sure bool) {
	for _, o := range offers {
		if _, has := o.addr(); has {
			return choice{offer: o}, true, true
		}
	}
	return choice{}, false, false
}
