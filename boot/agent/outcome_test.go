package agent

import (
	"errors"
	"slices"
	"testing"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/pull"
)

// Each action that may stand in a plan has an outcome, and no other has.
func TestOutcomes(t *testing.T) {
	for _, row := range boot.ActionTable {
		t.Run(string(row.Action), func(t *testing.T) {
			if has := outcomes[row.Action] != nil; has != row.InPlan {
				t.Errorf("has an outcome: %v, may be in a plan: %v", has, row.InPlan)
			}
		})
	}
	for action := range outcomes {
		if !action.Row().InPlan {
			t.Errorf("the outcome of %q can never be asked for", action)
		}
	}
}

func TestServeWithoutServingHalf(t *testing.T) {
	s := newSession(Config{Interface: "lo", Board: "testboard"})
	if err := becomeAppliance(t.Context(), s, &boot.Plan{}); !errors.Is(err, ErrNoServing) {
		t.Errorf("error %v", err)
	}
}

// What is zero is the default's, field by field.
func TestTimingDefaults(t *testing.T) {
	if got := (Timing{}).orDefaults(); got != DefaultTiming {
		t.Errorf("got %+v", got)
	}
	if got := quick.orDefaults(); got.Requests != quick.Requests || got.Retry != quick.Retry || got.OfferAge != DefaultTiming.OfferAge {
		t.Errorf("got %+v", got)
	}
}

// The device can fetch by each protocol that a plan may name.
func TestSourcesAreFetched(t *testing.T) {
	for _, p := range boot.Protocols {
		t.Run(p.Name, func(t *testing.T) {
			if p.Source && !slices.Contains(pull.Schemes(), p.Name) {
				t.Error("the table of package pull has no row for it")
			}
		})
	}
}
