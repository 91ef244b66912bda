package ra

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/wire"
)

// When a machine is answered, when we solicit ourselves, and when a router is
// reported, with the times that are used.
func TestRouters(t *testing.T) {
	const asked, router = wire.RouterSolicitation, wire.RouterAdvertisement
	type step struct {
		name string
		wait time.Duration
		kind byte
		want reaction
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"alone", []step{
			{"at once", 0, asked, reaction{}},
			{"while it listens", 3500 * time.Millisecond, asked, reaction{}},
			{"when it has listened", time.Millisecond, asked, reaction{answer: true}},
			{"for the next 10 s", 6 * time.Second, asked, reaction{answer: true}},
			{"then it asks again", time.Second, asked, reaction{answer: true, solicit: true}},
			{"and not at once", 5 * time.Second, asked, reaction{answer: true}},
			{"but after 10 s", 6 * time.Second, asked, reaction{answer: true, solicit: true}},
		}},
		{"beside a router", []step{
			{"it is heard", time.Second, router, reaction{report: true}},
			{"nobody is answered", 10 * time.Second, asked, reaction{}},
			{"it is reported once", 20 * time.Minute, router, reaction{}},
			{"it counts as there", 30 * time.Minute, asked, reaction{}},
			{"until it was quiet for long", time.Millisecond, asked, reaction{answer: true, solicit: true}},
			{"then it is reported again", time.Second, router, reaction{report: true}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRouters(Timing{}.OrDefault(), time.Now())
				for _, s := range tt.steps {
					time.Sleep(s.wait)
					if got := r.message(s.kind, time.Now()); got != s.want {
						t.Errorf("%s: %+v, want %+v", s.name, got, s.want)
					}
				}
			})
		})
	}
}

func TestTiming(t *testing.T) {
	if d := DefaultTiming; d.Listen < 3500*time.Millisecond {
		t.Errorf("a router that answered another machine may take 3 s and 0.5 s, and is listened for %v", d.Listen)
	}
	if got := (Timing{Quiet: time.Minute}).OrDefault(); got.Quiet != time.Minute || got.Listen != DefaultTiming.Listen || got.Look != wire.DefaultTiming.Look {
		t.Errorf("fields that are 0 are not the default's: %+v", got)
	}
}
