package agent

import (
	"context"
	"errors"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// ErrNoServing is what a firmware says that cannot be an appliance.
var ErrNoServing = errors.New("this firmware was made without the serving half; `mkboot build --serve` includes it")

// becomeAppliance is the outcome of action serve. The disk with an appliance's
// files is looked for once more. Had it been there at the start, the machine
// would not have asked. Then its life as a device ends, lease and all, and
// Config.Serve is called.
func becomeAppliance(ctx context.Context, s *Session, _ *boot.Plan) error {
	if s.cfg.Serve == nil {
		return ErrNoServing
	}
	if !s.cfg.Init {
		s.left.Store(true)
		s.console.say("would serve now")
		return nil
	}
	dir, err := s.volumes.mount(ctx, "")
	if err != nil {
		return err
	}
	if dir == "" {
		return errors.New("serve: there is no disk labelled " + board.VolumeLabel + " with " + board.VolumeConfig + ", root/ and state/")
	}
	s.Volume = dir
	s.Reporter.deliverOrWarn(ctx, boot.Event{Kind: boot.KindHandover, Text: "serves as an appliance"})
	return nil
}
