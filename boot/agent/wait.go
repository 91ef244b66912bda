package agent

import (
	"context"

	"github.com/bootlace/bootlace/boot"
)

// wait is the outcome of action wait. It reports what the machine is, writes
// nothing, and lets it ask for a plan again after Timing.Poll.
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
