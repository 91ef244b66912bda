package agent

import (
	"context"

	"github.com/bootlace/bootlace/boot"
)

// An outcome is what an action does. Its nil says that it has said and reported
// what it had to. Then the machine asks for its next plan, unless it was left.
// An error is reported, and on_failure of the plan followed.
type outcome func(ctx context.Context, s *Session, p *boot.Plan) error

// outcomes has a row for each action that boot.ActionTable lets into a plan.
var outcomes = map[boot.Action]outcome{
	boot.ActionFlash: flashImage,
	boot.ActionBoot:  bootKernel,
	boot.ActionLocal: bootLocal,
	boot.ActionServe: becomeAppliance,
	boot.ActionWait:  wait,
}
