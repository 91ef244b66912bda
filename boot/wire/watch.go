//go:build linux

package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// ErrReplaced means that the interface is not the one that was listened on. A
// USB adapter was plugged in again, or a VLAN made anew.
var ErrReplaced = errors.New("interface was replaced")

// A Watch looks after the interface that a server has its sockets on. Sockets
// stay with the interface they were opened on. Once that is gone they receive
// nothing more, and no error says so.
type Watch struct {
	server string // whose sockets they are, for the log
	name   string
	index  int
	addr   netip.Addr
	log    *slog.Logger
	kernel *Netlink
	away   atomic.Bool
}

// NewWatch begins to watch an interface, in the network namespace of its
// caller. addr is the address that the server tells its clients. With the zero
// Addr no address is missed.
func NewWatch(server string, ifi *net.Interface, addr netip.Addr, log *slog.Logger) (*Watch, error) {
	kernel, err := OpenNetlink()
	if err != nil {
		return nil, err
	}
	return &Watch{server: server, name: ifi.Name, index: ifi.Index, addr: addr, log: log, kernel: kernel}, nil
}

// Close ends the watch.
func (w *Watch) Close() { w.kernel.Close() }

// Away reports whether the interface is down or without its address. Packets
// may still come in, but what a client would be told leads nowhere. A nil Watch
// misses nothing.
func (w *Watch) Away() bool { return w != nil && w.away.Load() }

// Run looks until ctx ends, and returns nil then. It returns ErrReplaced for an
// interface that is another one. What changes it logs.
func (w *Watch) Run(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		why := w.look()
		if errors.Is(why, ErrReplaced) {
			return why
		}
		switch was := w.away.Swap(why != nil); {
		case why != nil && !was:
			w.log.Error(w.server+": nobody is answered", "interface", w.name, "why", why)
		case why == nil && was:
			w.log.Info(w.server+": the interface is as it was", "interface", w.name)
		}
	}
}

// look says what is wrong with the interface.
func (w *Watch) look() error {
	found, err := w.kernel.InterfaceByName(w.name)
	if err != nil {
		return fmt.Errorf("look for it: %w", err)
	}
	if w.addr.IsValid() {
		addrs, err := w.kernel.Addrs(found.Index)
		if err != nil {
			return fmt.Errorf("read its addresses: %w", err)
		}
		if !slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr() == w.addr }) {
			return fmt.Errorf("%s is not its address any more", w.addr)
		}
	}
	if found.Index != w.index {
		return ErrReplaced
	}
	return nil
}

// Keep runs a server until ctx ends or serve fails. After ErrReplaced it calls
// listen until the interface is back. failed is told of each time that it is not.
func Keep(ctx context.Context, every time.Duration, serve func(context.Context) error, listen func() error, failed func(error)) error {
	for {
		err := serve(ctx)
		if !errors.Is(err, ErrReplaced) {
			return err
		}
		for err = listen(); err != nil; err = listen() {
			failed(err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(every):
			}
		}
	}
}
