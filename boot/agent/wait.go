package agent

import (
	"context"

	"github.com/bootlace/bootlace/boot"
)

// wait is the outcome of action wait. It reports what the machine is and writes
// nothing. After Timing.Poll the machine asks for a plan again.
func wait(ctx context.Context, s *Session, p *boot.Plan) error {
	if s.waiting != p.Job {
		facts := s.machine.facts()
		if p.Text != "" {
			facts = p.Text + "; " + facts
		}
		s.console.say("waiting: %s", facts)
		s.Reporter.Report(boot.Event{Kind: boot.KindWaiting, Text: facts})
		s.waiting = p.Job
	}
	sleep(ctx, s.timing.Poll)
	return nil
}
