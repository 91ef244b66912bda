package agent

import (
	"context"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/link"
)

// acknowledged reports that the job is whole and waits until the appliance has
// taken note, however long that takes: a machine whose success nobody heard of
// would be flashed again. Its error is that the appliance will not have it,
// that it is lost (errLost: it may have come back elsewhere), or the end of ctx.
func (s *Session) acknowledged(ctx context.Context, ev boot.Event) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for began := time.Now(); ; {
			if sleep(ctx, s.timing.Say); ctx.Err() != nil {
				return
			}
			if s.Reporter.silence(began) > s.timing.Lost {
				cancel(errLost)
				return
			}
			s.say("waiting for %s to acknowledge that the job is done", s.Server)
		}
	}()
	err := s.Reporter.Deliver(ctx, ev)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// deliver reports something that the machine can leave without having heard an answer.
func (s *Session) deliver(ctx context.Context, ev boot.Event) {
	patience, cancel := context.WithTimeout(ctx, s.timing.Farewell)
	defer cancel()
	if err := s.Reporter.Deliver(patience, ev); err != nil {
		s.Log.Warn("not acknowledged", "report", ev.Text, "err", err)
	}
}

// Leave reports what becomes of the machine and does it: how is boot.Reboot,
// boot.Poweroff or boot.Wait. Outside our firmware the machine stays, and the
// agent ends.
func (s *Session) Leave(ctx context.Context, how boot.Next) error {
	if how == boot.Wait {
		return nil
	}
	s.deliver(ctx, boot.Event{Kind: boot.KindHandover, Text: string(how)})
	return s.leave(how)
}

func (s *Session) leave(how boot.Next) error {
	s.left.Store(true)
	if !s.cfg.Init {
		s.say("would %s now", how)
		return nil
	}
	var err error
	if how == boot.Poweroff {
		err = link.Poweroff()
	} else {
		err = link.Reboot()
	}
	s.left.Store(false) // still here
	return err
}

// started reports what the machine is, once a boot.
func (s *Session) started() {
	if s.begun {
		return
	}
	s.begun = true
	s.Reporter.Report(boot.Event{Kind: boot.KindStart, Text: "bootlace agent " + s.Version + ": " + s.facts()})
}
