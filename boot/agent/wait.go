package agent

import (
	"context"

	"github.com/bootlace/bootlace/boot"
)

// Wait is the outcome of action wait: it reports what the machine is, writes
// nothing, and lets it ask for a plan again after Timing.Poll.
func Wait(ctx context.Context, s *Session, p *boot.Plan) error {
	if s.waiting != p.Job {
		facts := s.facts()
		if p.Text != "" {
			facts = p.Text + "; " + facts
		}
		s.say("waiting: %s", facts)
		s.Reporter.Report(boot.Event{Kind: boot.KindWaiting, Text: facts})
		s.waiting = p.Job
	}
	sleep(ctx, s.timing.Poll)
	return nil
}
