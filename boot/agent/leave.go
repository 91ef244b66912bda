package agent

import (
	"context"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/link"
)

// acknowledged reports that the job is whole. It waits until the appliance has
// taken note, however long that takes. A machine whose success nobody heard of
// would be flashed again. The error is that the appliance will not have the
// report, or the end of ctx. It is errLost where the appliance is gone: it may
// have come back elsewhere.
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
			s.console.say("waiting for %s to acknowledge that the job is done", s.Server)
		}
	}()
	err := s.Reporter.Deliver(ctx, ev)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// leave reports what becomes of the machine and does it.
func (s *Session) leave(ctx context.Context, how boot.Next) error {
	s.Reporter.deliverOrWarn(ctx, boot.Event{Kind: boot.KindHandover, Text: string(how)})
	return s.reset(how)
}

// reset reboots the machine or switches it off. Outside our firmware the
// machine stays, and the agent ends.
func (s *Session) reset(how boot.Next) error {
	s.left.Store(true)
	if !s.cfg.Init {
		s.console.say("would %s now", how)
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
