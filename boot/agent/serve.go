package agent

import (
	"context"
	"errors"

	"github.com/bootlace/bootlace/boot"
)

// Serve makes the machine an appliance because its plan says so. The disk with
// an appliance's files is looked for once more: had it been there at the start,
// the machine would not have asked. Its life as a device ends then, lease and
// all, and the outcome serve is called again, without a plan.
func (s *Session) Serve(ctx context.Context) error {
	if !s.cfg.Init {
		s.left.Store(true)
		s.say("would serve now")
		return nil
	}
	found, err := s.mountStore(ctx, "")
	if err != nil {
		return err
	}
	if !found {
		return errors.New("serve: there is no disk labelled " + storeLabel + " with " + storeFile + ", root/ and state/")
	}
	s.deliver(ctx, boot.Event{Kind: boot.KindHandover, Text: "serves as an appliance"})
	return nil
}
