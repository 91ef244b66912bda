package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/link"
)

// power brings up what a machine has, as PID 1. Nothing of it is fatal: what
// does not work is said, and the machine goes as far as it gets.
func (s *Session) power() link.Options {
	mountErr := link.Mount()
	opt, optErr := link.ReadCmdline()
	if s.cfg.Console == nil {
		s.screen.use(link.OpenConsole(opt.Console...))
	}
	s.first()
	for _, err := range []error{mountErr, optErr} {
		if err != nil {
			s.Log.Warn("start", "err", err)
		}
	}
	if !s.cfg.Server.IsValid() {
		s.cfg.Server = opt.Server
	}
	if !s.cfg.Addr.IsValid() {
		s.cfg.Addr = opt.Addr
	}
	// A machine without a random number generator takes a second for its first
	// random bytes, and only while somebody waits for them.
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
	s.uuid = productUUID() // which took /sys
	if free := available(); free > 0 {
		// So that garbage is collected before it fills the machine: by default
		// there may be as much of it as there is in use, and nothing swaps.
		debug.SetMemoryLimit(free / 4 * 3)
	}
	return opt
}

const (
	storeLabel = "BOOTLACE"
	storeDir   = "/run/bootlace/store"
	storeFile  = "bootlace.yaml"
)

// appliance runs the serve outcome where the command line or the machine's own
// store asks for it, and reports whether either does.
func (s *Session) appliance(ctx context.Context, opt link.Options) (bool, error) {
	asked := opt.Action == boot.ActionServe || opt.Volume != ""
	found, err := s.mountStore(ctx, opt.Volume)
	if err != nil || !found && !asked {
		return false, err
	}
	out, ok := s.cfg.Outcomes[boot.ActionServe]
	if !ok {
		return true, fmt.Errorf("action %q: %w", boot.ActionServe, boot.ErrPlanAction)
	}
	s.say("serving, store %s", cmp.Or(s.Store, "none"))
	if err := out(ctx, s, nil); err != nil {
		return true, err
	}
	return true, errors.New("serving has ended")
}

// mountStore finds the file system that holds an appliance's files. One that
// the command line names is waited for; an unnamed one is there when all disks
// have shown up, or not at all.
func (s *Session) mountStore(ctx context.Context, label string) (bool, error) {
	if s.Store != "" {
		return true, nil // from an earlier try
	}
	named, settle := label != "", s.timing.Settle
	if named {
		settle = s.timing.Say
	} else {
		label = storeLabel
	}
	for {
		v, err := link.FindVolume(ctx, label, settle)
		switch {
		case err == nil:
			return s.useStore(v, named)
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case !named:
			s.noStore = true
			return false, nil
		}
		s.say("waiting for the disk labelled %s", label)
	}
}

// leaseOrStore is lease, but ends with neither lease nor error when a store
// shows up meanwhile: a USB disk may take longer than all others to settle.
func (s *Session) leaseOrStore(ctx context.Context) (*lease, error) {
	if !s.noStore {
		return s.lease(ctx)
	}
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.forever(both, "store", func() error {
		v, err := link.FindVolume(both, storeLabel, 0)
		if err == nil {
			s.say("%s is labelled %s", v.Path, storeLabel)
			cancel(errStore)
		}
		return err
	})
	l, err := s.lease(both)
	if errors.Is(context.Cause(both), errStore) {
		return nil, nil
	}
	return l, err
}

var errStore = errors.New("a store has shown up")

func (s *Session) useStore(v link.Volume, named bool) (bool, error) {
	if err := v.Mount(storeDir); err != nil {
		return false, err
	}
	_, err := os.Stat(filepath.Join(storeDir, storeFile))
	if err == nil {
		s.Store = storeDir
		return true, nil
	}
	unix.Unmount(storeDir, 0)
	if named {
		return false, fmt.Errorf("store %s on %s: %w", v.Label, v.Path, err)
	}
	s.say("%s is labelled %s, but holds no %s", v.Path, v.Label, storeFile)
	return false, nil
}
