package verdict

import (
	"math"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

func TestStatus(t *testing.T) {
	ev := func(kinds ...boot.Kind) (events []boot.Event) {
		for _, k := range kinds {
			events = append(events, boot.Event{Kind: k, Boot: "b", Text: "why", File: "lab.raw.zst", Bytes: 37, Total: 100})
		}
		return events
	}
	for _, tt := range []struct {
		events []boot.Event
		want   string
	}{
		{nil, ""},
		{ev(boot.KindRefused), ""},
		{ev(boot.KindDHCP, boot.KindServe), "asking for its firmware"},
		{ev(boot.KindDHCP, boot.KindServe, boot.KindPlan), "was told what to do"},
		{ev(boot.KindDHCP, boot.KindStart, boot.KindWaiting), "waiting"},
		{ev(boot.KindStart, boot.KindPull), "pulling lab.raw.zst"},
		{ev(boot.KindStart, boot.KindWrite, boot.KindServe), "flashing 37 %"},
		{[]boot.Event{{Kind: boot.KindWrite, Bytes: math.MaxInt64, Total: 1}}, "flashing 100 %"},
		{ev(boot.KindWrite, boot.KindDone), "done"},
		{ev(boot.KindWrite, boot.KindDone, boot.KindHandover), "done"},
		{ev(boot.KindWrite, boot.KindFailed, boot.KindHandover), "failed: why"},
		{ev(boot.KindStart, boot.KindPull, boot.KindHandover), "handed over: why"},
		{ev(boot.KindWrite, boot.KindRetry), "trying again: why"},
		{ev(boot.KindDone, boot.KindHandover, boot.KindDHCP, boot.KindServe), "done"},
		{ev(boot.KindDone, boot.KindAsked, boot.KindDHCP), "asking for its firmware"},
		{ev(boot.KindDone, boot.KindAsked), "asked: why"},
		{ev(boot.KindStart, boot.KindWrite, boot.KindDHCP, boot.KindServe), "asking for its firmware"},
		{ev(boot.KindDone, boot.KindDHCP, boot.KindStart, boot.KindLocal), "booting from its disk"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := Status(tt.events); got != tt.want {
				t.Errorf("status of %v is %q, want %q", tt.events, got, tt.want)
			}
		})
	}
}
