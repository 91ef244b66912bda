package boot

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bootlace/bootlace/images"
)

// An Action is what a machine is told to do.
type Action string

// The actions of profiles and plans.
const (
	ActionFlash  Action = "flash"
	ActionBoot   Action = "boot"
	ActionLocal  Action = "local"
	ActionServe  Action = "serve"
	ActionWait   Action = "wait"
	ActionIgnore Action = "ignore"
)

// An ActionRow says what an action is and what it needs. A new action is a row
// here and a row with its function in package agent.
type ActionRow struct {
	Action Action
	Doc    string // what the machine does, for a person

	InProfile bool // a profile may ask for it
	InPlan    bool // a plan may hold it; where false, the machine gets no answer
	InOrder   bool // a person may ask for it, ahead of the profile

	NeedsPlan    bool // without its plan the machine would ask for ever
	NeedsImage   bool // profile and plan name an image, and where to fetch it
	NeedsKernel  bool // profile and plan name a kernel, and where to fetch it; the machine must have kexec
	NeedsAck     bool // the appliance must be able to hear that it is done
	NeedsFlashed bool // the plan says which disk was flashed, where that is known

	check func(*Plan) error // reports what a plan lacks; nil where the action needs nothing
}

// NeedsSources reports whether the machine gets files under its plan.
func (r ActionRow) NeedsSources() bool { return r.NeedsImage || r.NeedsKernel }

// ActionTable has a row for each action. An error message names them in this
// order.
var ActionTable = []ActionRow{
	{Action: ActionFlash, Doc: "write an image to a disk",
		InProfile: true, InPlan: true, InOrder: true,
		NeedsPlan: true, NeedsImage: true, NeedsAck: true, check: (*Plan).checkImage},
	{Action: ActionBoot, Doc: "start a kernel by kexec",
		InProfile: true, InPlan: true,
		NeedsPlan: true, NeedsKernel: true, check: (*Plan).checkKernel},
	{Action: ActionLocal, Doc: "boot from the disk",
		InProfile: true, InPlan: true, InOrder: true, NeedsFlashed: true},
	{Action: ActionServe, Doc: "be an appliance",
		InProfile: true, InPlan: true, NeedsPlan: true},
	{Action: ActionWait, Doc: "report what the machine is, write nothing, ask again",
		InProfile: true, InPlan: true},
	{Action: ActionIgnore, Doc: "get no answer",
		InProfile: true},
}

// Actions lists the actions that a profile may ask for.
var Actions = profileActions()

func profileActions() (list []Action) {
	for _, r := range ActionTable {
		if r.InProfile {
			list = append(list, r.Action)
		}
	}
	return list
}

// Row returns the action's row. An action without a row is allowed nowhere.
func (a Action) Row() ActionRow {
	i := slices.IndexFunc(ActionTable, func(r ActionRow) bool { return r.Action == a })
	if i < 0 {
		return ActionRow{Action: a}
	}
	return ActionTable[i]
}

// check refuses a plan that lacks what its action needs.
func (p *Plan) check() error {
	row := p.Action.Row()
	if row.check != nil {
		if err := row.check(p); err != nil {
			return fmt.Errorf("read plan: %w", err)
		}
	}
	if row.NeedsSources() && len(p.Sources) == 0 {
		return errors.New("read plan: no sources")
	}
	return nil
}

func (p *Plan) checkImage() error {
	if p.Image == nil || !images.IsDigest(p.Image.ManifestSHA256) || p.Image.Size <= 0 {
		return errors.New("flash without an image and its manifest's digest")
	}
	return nil
}

func (p *Plan) checkKernel() error {
	switch {
	case p.Kernel == nil || !images.IsDigest(p.Kernel.SHA256):
		return errors.New("boot without a kernel and its digest")
	case p.Initrd != nil && !images.IsDigest(p.Initrd.SHA256):
		return errors.New("initrd without its digest")
	case p.Kernel.Size <= 0 || p.Initrd != nil && p.Initrd.Size <= 0:
		return errors.New("kernel or initrd without its size")
	}
	return nil
}

// A Next is what a machine does once its job has ended.
type Next string

// The values of then and on_failure.
const (
	Retry    Next = "retry"
	Wait     Next = "wait"
	Reboot   Next = "reboot"
	Poweroff Next = "poweroff"
)

// Then and on_failure may have these values. An error message names them in
// this order.
var (
	ThenValues      = []Next{Reboot, Poweroff, Wait}
	OnFailureValues = []Next{Retry, Wait, Reboot}
)
