// Package agent is the device half's sequence from power-on to done: an
// address, the appliance, its plan, and what the plan asks for. It runs as PID
// 1 of our firmware, or for a test on one link of an ordinary machine.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/boot/link"
)

// An Outcome is what a plan's action means. nil: it has said and reported what
// it had to, and the machine asks for its next plan, unless it called
// [Session.Leave]. An error is reported, and on_failure of the plan followed.
// serve is called without a plan where the machine's own store asks for it, and
// with one calls [Session.Serve].
type Outcome func(ctx context.Context, s *Session, p *boot.Plan) error

// Config is what cmd/bootlace gives to Run.
type Config struct {
	Version  string
	Outcomes map[boot.Action]Outcome
	Init     bool // we are PID 1: mount, load modules, and reset the machine in the end

	// Interface restricts the agent to one link. Without Init it must be
	// named: that link's addresses are replaced.
	Interface string
	Server    netip.Addr   // the appliance, ahead of what DHCP says
	Addr      netip.Prefix // address of the link, instead of asking for one

	Board   string       // "": what /etc/bootlace/board says
	Log     *slog.Logger // nil: warnings go to the console
	Console io.Writer    // nil: every console of the machine with Init, else standard error
	Timing  Timing       // zero: DefaultTiming

	// Disks lists the disks of the machine; nil is flash.Disks.
	Disks func() ([]flash.Disk, error)
}

// A Session is one run of the agent, as outcomes see it.
type Session struct {
	Version  string
	Board    string
	Boot     string     // drawn once; of all events and plans
	Link     link.Link  // over which the appliance was found
	Server   netip.Addr // the appliance
	Store    string     // folder of the mounted BOOTLACE file system; "" where there is none
	Console  io.Writer  // of all terminals; for lines
	Log      *slog.Logger
	Reporter *Reporter

	cfg     Config
	timing  Timing
	screen  *screen
	uuid    *boot.UUID
	turn    int         // of links, see static
	begun   bool        // what the machine is was reported
	settled string      // job after which the machine stays as it is until a person asks for another
	waiting string      // job that was told to wait, and has been reported
	noStore bool        // no disk was labelled as a store when we looked
	left    atomic.Bool // Leave was called
}

// Run is the agent. With Init it returns only when ctx ends, and the machine
// may be reset long before; without, also when a plan's outcome would have
// left the machine.
func Run(ctx context.Context, cfg Config) error {
	if !cfg.Init && cfg.Interface == "" {
		return errors.New("agent: outside our firmware the link to use must be named, as its addresses are replaced")
	}
	return newSession(cfg).run(ctx)
}

func (s *Session) run(ctx context.Context) error {
	var opt link.Options
	if s.cfg.Init {
		opt = s.power()
	} else {
		s.first()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.forever(ctx, "reports", func() error { s.Reporter.run(ctx); return nil })
	err := s.forever(ctx, "agent", func() error {
		for {
			if s.cfg.Init {
				if served, err := s.appliance(ctx, opt); served || err != nil {
					return err
				}
			}
			if err := s.device(ctx); err != nil || s.Store == "" {
				return err
			}
		}
	})
	if s.left.Load() {
		return nil
	}
	return err
}

func newSession(cfg Config) *Session {
	s := &Session{Version: cfg.Version, Board: cfg.Board, cfg: cfg, timing: cfg.Timing}
	if !cfg.Init { // there the kernel may have no random numbers yet, see power
		s.Boot = boot.RandomHex(16)
	}
	if s.timing == (Timing{}) {
		s.timing = DefaultTiming
	}
	if s.Board == "" {
		s.Board = link.Board()
	}
	s.screen = &screen{w: cfg.Console}
	if cfg.Console == nil {
		s.screen.w = os.Stderr
	}
	s.Console = s.screen
	s.Log = cfg.Log
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(s.screen, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s.uuid = productUUID()
	s.Reporter = newReporter(s.Log, s.timing, s.Boot)
	return s
}

// first says the first line.
func (s *Session) first() { fmt.Fprintf(s.Console, "bootlace agent %s %s\n", s.Version, s.Board) }

// say writes a line for a person to the console.
func (s *Session) say(format string, args ...any) {
	fmt.Fprintf(s.Console, "bootlace: %s\n", human.Lines(fmt.Sprintf(format, args...)))
}

// forever runs f again and again until ctx ends or the machine is left: it
// panics or fails only by a mistake of ours, and PID 1 must not end.
func (s *Session) forever(ctx context.Context, what string, f func() error) error {
	wait := backoff{first: s.timing.Retry, most: s.timing.RetryMax}
	for {
		err := guard(f)
		if ctx.Err() != nil || s.left.Load() {
			return ctx.Err()
		}
		if err != nil {
			s.say("failed: %s: %v", what, err)
			s.Reporter.Report(boot.Event{Kind: boot.KindFailed, Text: what + ": " + err.Error()})
		}
		sleep(ctx, wait.wait())
	}
}

// guard turns a panic of f into its error, with the place where it happened.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// device is the machine's life as a device. It ends when the appliance is lost,
// or when the machine becomes one itself.
func (s *Session) device(ctx context.Context) error {
	l, err := s.leaseOrStore(ctx)
	if l == nil {
		return err
	}
	s.Link, s.Server = l.link, l.appliance
	s.say("appliance is %s, over %s %s", s.Server, s.Link.Name, s.Link.MAC)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.forever(ctx, "lease", func() error { s.keep(ctx, l); <-ctx.Done(); return nil })
	s.started()
	wait := backoff{first: s.timing.Retry, most: s.timing.RetryMax}
	for {
		p, err := s.plan(ctx, l)
		if errors.Is(err, errLost) {
			s.say("%v", err)
			return nil // and is looked for anew
		}
		if err != nil {
			return err
		}
		if s.idle(p) {
			sleep(ctx, s.timing.Poll)
			continue
		}
		err = s.carryOut(ctx, p)
		if errors.Is(err, errLost) {
			s.say("%v", err)
			return nil // what was done is found done under the plan to come
		}
		if err != nil {
			s.failed(ctx, p, err, wait.wait())
		} else {
			wait.reset()
		}
		if s.left.Load() || s.Store != "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// idle reports whether the machine stays as it is: after `then: wait` or
// `on_failure: wait` it does until a person asks for another job.
func (s *Session) idle(p *boot.Plan) bool {
	return s.settled != "" && (p.Job == s.settled || p.Action == boot.ActionLocal || p.Action == boot.ActionWait)
}

func (s *Session) carryOut(ctx context.Context, p *boot.Plan) error {
	out, ok := s.cfg.Outcomes[p.Action]
	if !ok {
		return fmt.Errorf("action %q: %w", p.Action, boot.ErrPlanAction)
	}
	s.settled = ""
	if p.Action != boot.ActionWait || s.waiting != p.Job {
		s.say("plan: %s", p.Action)
	}
	return guard(func() error { return out(ctx, s, p) })
}

// failed says and reports why a plan came to nothing, and does what the plan
// wants then.
func (s *Session) failed(ctx context.Context, p *boot.Plan, why error, wait time.Duration) {
	if ctx.Err() != nil {
		return
	}
	s.say("failed: %v", why)
	patience, cancel := context.WithTimeout(ctx, s.timing.Farewell)
	defer cancel()
	if err := s.Reporter.Deliver(patience, boot.Event{Kind: boot.KindFailed, Text: why.Error()}); err != nil {
		s.Log.Warn("failure is not reported yet", "err", err)
	}
	switch p.OnFailure {
	case boot.Wait:
		s.settled = p.Job
		s.say("waiting for another job, as the plan says")
	case boot.Reboot:
		s.say("rebooting in %v, as the plan says", s.timing.Pause)
		if sleep(ctx, s.timing.Pause); ctx.Err() == nil {
			s.leave(boot.Reboot)
		}
	default:
		s.say("trying again in %v", wait.Round(100*time.Millisecond))
		sleep(ctx, wait)
	}
}
