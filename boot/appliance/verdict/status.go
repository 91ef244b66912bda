package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/bootlace/bootlace/boot"
)

// Status says in a few words where a machine stands, from its events in order:
// "flashing 37 %", "done", "failed: disk is too small". It is "" where nothing
// is known.
func Status(events []boot.Event) string {
	seen := ""
	for _, ev := range slices.Backward(events) {
		switch ev.Kind {
		case boot.KindStart:
			return "started"
		case boot.KindWaiting:
			return "waiting"
		case boot.KindPull:
			return "pulling " + ev.File
		case boot.KindWrite:
			return "flashing" + percent(ev)
		case boot.KindVerify:
			return "verified"
		case boot.KindLocal:
			return "booting from its disk"
		case boot.KindRetry:
			return "trying again: " + ev.Text
		case boot.KindDone:
			return "done"
		case boot.KindFailed:
			return "failed: " + ev.Text
		case boot.KindHandover:
			// A reboot after done or failed is not what a person asks about.
			return cmp.Or(verdict(events, ev.Boot), "handed over: "+ev.Text)
		case boot.KindAsked:
			return "asked: " + ev.Text
		case boot.KindDHCP:
			// A machine that was flashed asks for its loader at every start: how
			// its last job ended says more, until it reports something new.
			return cmp.Or(verdict(events, ""), seen, "asking for its firmware")
		case boot.KindPlan:
			seen = cmp.Or(seen, "was told what to do")
		case boot.KindServe:
			// The image goes out while the machine writes: not a state of its own.
			seen = cmp.Or(seen, "asking for its firmware")
		}
	}
	return seen
}

// verdict returns how a job ended, in the given boot or in any.
func verdict(events []boot.Event, in string) string {
	for _, ev := range slices.Backward(events) {
		switch {
		case in != "" && ev.Boot != in:
		case ev.Kind == boot.KindDone:
			return "done"
		case ev.Kind == boot.KindFailed:
			return "failed: " + ev.Text
		case in == "" && (ev.Kind == boot.KindStart || ev.Kind == boot.KindAsked):
			return ""
		}
	}
	return ""
}

func percent(ev boot.Event) string {
	if ev.Total <= 0 {
		return ""
	}
	return fmt.Sprintf(" %.0f %%", math.Floor(min(100, 100*float64(ev.Bytes)/float64(ev.Total))))
}
