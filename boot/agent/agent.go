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
	"github.com/bootlace/bootlace/boot/link"
)

// Config is what cmd/bootlace gives to Run.
type Config struct {
	Version string
	Init    bool // we are PID 1: mount, load modules, and reset the machine in the end

	// Serve makes the machine an appliance, with the files in Session.Volume.
	// It returns only with an error. nil: this firmware cannot.
	Serve func(ctx context.Context, s *Session) error

	// Interface restricts the agent to one link. Without Init it must be
	// named: that link's addresses are replaced.
	Interface string
	Server    netip.Addr   // the appliance, ahead of what DHCP says
	Addr      netip.Prefix // address of the link, instead of asking for one

	Board   string       // "": what /etc/bootlace/board says
	Log     *slog.Logger // nil: warnings go to the console
	Console io.Writer    // nil: every console of the machine with Init, else standard error
	Timing  Timing       // zero fields: those of DefaultTiming

	// Disks lists the disks of the machine; nil is flash.Disks.
	Disks func() ([]flash.Disk, error)
}

// A Session is one run of the agent.
type Session struct {
	Version  string
	Boot     string     // drawn once; of all events and plans
	Link     link.Link  // over which the appliance was found
	Server   netip.Addr // the appliance
	Volume   string     // folder of the mounted BOOTLACE file system; "" where there is none
	Console  io.Writer  // of all terminals; for lines
	Log      *slog.Logger
	Reporter *Reporter

	cfg      Config
	timing   Timing
	console  *console
	machine  *machine
	network  *network
	volumes  *volumes
	outcomes map[boot.Action]outcome

	begun   bool        // what the machine is was reported
	settled string      // job after which the machine stays as it is until a person asks for another
	waiting string      // job that was told to wait, and has been reported
	left    atomic.Bool // leave was called
}

// Run is the agent. With Init it returns only when ctx ends, and the machine
// may be reset long before. Without, it also returns when a plan's outcome
// would have left the machine.
func Run(ctx context.Context, cfg Config) error {
	if !cfg.Init && cfg.Interface == "" {
		return errors.New("agent: outside our firmware the link to use must be named, as its addresses are replaced")
	}
	return newSession(cfg).run(ctx)
}

func newSession(cfg Config) *Session {
	s := &Session{Version: cfg.Version, Log: cfg.Log, cfg: cfg, timing: cfg.Timing.orDefaults(), outcomes: outcomes}
	if !cfg.Init { // there the kernel may have no random numbers yet, see power
		s.Boot = boot.RandomHex(16)
	}
	s.console = &console{w: cfg.Console}
	if cfg.Console == nil {
		s.console.w = os.Stderr
	}
	s.Console = s.console
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(s.console, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s.machine = newMachine(cfg)
	s.network = &network{
		iface: cfg.Interface, server: cfg.Server, addr: cfg.Addr,
		machine: s.machine, console: s.console, log: s.Log, timing: s.timing,
	}
	s.volumes = &volumes{console: s.console, timing: s.timing}
	s.Reporter = newReporter(s.Log, s.timing, s.Boot)
	return s
}

func (s *Session) run(ctx context.Context) error {
	var opt link.Options
	if s.cfg.Init {
		opt = s.power()
	} else {
		s.console.hello(s.Version, s.machine.board)
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
			if err := s.device(ctx); err != nil || s.Volume == "" {
				return err
			}
		}
	})
	if s.left.Load() {
		return nil
	}
	return err
}

// forever runs f again and again until ctx ends or the machine is left. It
// panics or fails only by a mistake of ours, and PID 1 must not end.
func (s *Session) forever(ctx context.Context, what string, f func() error) error {
	wait := backoff{first: s.timing.Retry, most: s.timing.RetryMax}
	for {
		err := guard(f)
		if ctx.Err() != nil || s.left.Load() {
			return ctx.Err()
		}
		if err != nil {
			s.console.say("failed: %s: %v", what, err)
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
	l, err := s.leaseOrVolume(ctx)
	if l == nil {
		return err
	}
	s.Link, s.Server = l.link, l.appliance
	s.console.say("appliance is %s, over %s %s", s.Server, s.Link.Name, s.Link.MAC)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.forever(ctx, "lease", func() error { s.network.keep(ctx, l); <-ctx.Done(); return nil })
	s.started()
	plans := &planner{mac: s.Link.MAC, boot: s.Boot, server: s.Server, console: s.console, reporter: s.Reporter, timing: s.timing}
	wait := backoff{first: s.timing.Retry, most: s.timing.RetryMax}
	for {
		p, err := plans.next(ctx)
		if err == nil {
			if s.idle(p) {
				sleep(ctx, s.timing.Poll)
				continue
			}
			err = s.carryOut(ctx, p)
		}
		switch {
		case errors.Is(err, errLost):
			// The appliance is looked for anew. What was done is found done under
			// the plan to come.
			s.console.say("%v", err)
			return nil
		case p == nil:
			return err
		case err != nil:
			s.failed(ctx, p, err, wait.wait())
		default:
			wait.reset()
		}
		if s.left.Load() || s.Volume != "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// started reports what the machine is, once a boot.
func (s *Session) started() {
	if s.begun {
		return
	}
	s.begun = true
	s.Reporter.Report(boot.Event{Kind: boot.KindStart, Text: "bootlace agent " + s.Version + ": " + s.machine.facts()})
}

// idle reports whether the machine stays as it is. After `then: wait` or
// `on_failure: wait` it does, until a person asks for another job.
func (s *Session) idle(p *boot.Plan) bool {
	return s.settled != "" && (p.Job == s.settled || p.Action == boot.ActionLocal || p.Action == boot.ActionWait)
}

func (s *Session) carryOut(ctx context.Context, p *boot.Plan) error {
	out, ok := s.outcomes[p.Action]
	if !ok {
		return fmt.Errorf("action %q: %w", p.Action, boot.ErrPlanAction)
	}
	s.settled = ""
	if p.Action != boot.ActionWait || s.waiting != p.Job {
		s.console.say("plan: %s", p.Action)
	}
	return guard(func() error { return out(ctx, s, p) })
}

// failed says and reports why a plan came to nothing. Then it does what the plan
// wants.
func (s *Session) failed(ctx context.Context, p *boot.Plan, why error, wait time.Duration) {
	if ctx.Err() != nil {
		return
	}
	s.console.say("failed: %v", why)
	if err := s.Reporter.deliverSoon(ctx, boot.Event{Kind: boot.KindFailed, Text: why.Error()}); err != nil {
		s.Log.Warn("failure is not reported yet", "err", err)
	}
	switch p.OnFailure {
	case boot.Wait:
		s.settled = p.Job
		s.console.say("waiting for another job, as the plan says")
	case boot.Reboot:
		s.console.say("rebooting in %v, as the plan says", s.timing.Pause)
		if sleep(ctx, s.timing.Pause); ctx.Err() == nil {
			s.reset(boot.Reboot)
		}
	default:
		s.console.say("trying again in %v", wait.Round(100*time.Millisecond))
		sleep(ctx, wait)
	}
}
