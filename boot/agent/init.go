package agent

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"runtime/debug"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/link"
)

// power brings up what a machine has, as PID 1. Nothing of it is fatal. What
// does not work is said, and the machine goes as far as it gets.
func (s *Session) power() link.Options {
	mountErr := link.Mount()
	opt, optErr := link.ReadCmdline()
	if s.cfg.Console == nil {
		s.console.use(link.OpenConsole(opt.Console...))
	}
	s.console.hello(s.Version, s.machine.board)
	for _, err := range []error{mountErr, optErr} {
		if err != nil {
			s.Log.Warn("start", "err", err)
		}
	}
	if !s.network.server.IsValid() {
		s.network.server = opt.Server
	}
	if !s.network.addr.IsValid() {
		s.network.addr = opt.Addr
	}
	// A machine without a random number generator takes a second for its first
	// random bytes. It does so only while somebody waits for them.
	seeded := make(chan error, 1)
	go func() { seeded <- link.Seed() }()
	link.LoadModules(s.Log, board.ModulesFile)
	if err := link.MountEFIVars(); err != nil {
		s.Log.Warn("start", "err", err)
	}
	// Now, so that the links look for their carriers while disks show up.
	if err := link.Up(s.Log, s.cfg.Interface); err != nil {
		s.Log.Warn("start", "err", err)
	}
	if err := <-seeded; err != nil {
		s.Log.Warn("start", "err", err)
	}
	s.Boot = boot.RandomHex(16)
	s.Reporter.boot = s.Boot
	s.machine.look()
	if free := available(); free > 0 {
		// So that garbage is collected before it fills the machine. By default
		// there may be as much of it as there is in use, and nothing swaps.
		debug.SetMemoryLimit(free / 4 * 3)
	}
	return opt
}

// appliance serves where the command line or the machine's own volume asks for
// it. It reports whether either does.
func (s *Session) appliance(ctx context.Context, opt link.Options) (bool, error) {
	asked := opt.Action == boot.ActionServe || opt.Volume != ""
	dir, err := s.volumes.mount(ctx, opt.Volume)
	if err != nil || dir == "" && !asked {
		return false, err
	}
	s.Volume = dir
	if s.cfg.Serve == nil {
		return true, ErrNoServing
	}
	s.console.say("serving, store %s", cmp.Or(s.Volume, "none"))
	if err := s.cfg.Serve(ctx, s); err != nil {
		return true, err
	}
	return true, errors.New("serving has ended")
}

// Addr is the address that the command line gives the machine. It is not valid
// where it gives none.
func (s *Session) Addr() netip.Prefix { return s.network.addr }

// Join gets the machine an address of the network's own server and keeps it
// until ctx ends. An appliance needs it that boots without an address in its
// config. It is patient: only the end of ctx is an error.
func (s *Session) Join(ctx context.Context) (link.Link, error) {
	l, err := s.network.obtain(ctx, anyAddress)
	if err != nil {
		return link.Link{}, err
	}
	go s.forever(ctx, "lease", func() error { s.network.keep(ctx, l); <-ctx.Done(); return nil })
	return l.link, nil
}
