package verdict

import (
	"cmp"
	"slices"

	"github.com/bootlace/bootlace/boot"
)

// Status says in a few words where a machine stands. Examples are "flashing 37
// %", "done" and "failed: disk is too small". events are in order. The result
// is "" without any. The words of each kind are in boot.Kinds.
func Status(events []boot.Event) string {
	seen := ""
	for _, ev := range slices.Backward(events) {
		row := ev.Kind.Row()
		if row.Phrase == nil {
			continue
		}
		phrase := row.Phrase(ev)
		switch {
		case ev.Kind == boot.KindHandover:
			// How the job ended says more than a reboot.
			return cmp.Or(jobEnd(events, ev.Boot), phrase)
		case ev.Kind == boot.KindDHCP:
			// A flashed machine asks for its loader at every start. How its
			// last job ended says more, until it reports something new.
			return cmp.Or(jobEnd(events, ""), seen, phrase)
		case !row.Passing:
			return phrase
		}
		// A served file or a plan is no state of its own.
		seen = cmp.Or(seen, phrase)
	}
	return seen
}

// jobEnd returns how a job ended, in the given boot or in any.
func jobEnd(events []boot.Event, in string) string {
	for _, ev := range slices.Backward(events) {
		switch {
		case in != "" && ev.Boot != in:
		case ev.Kind.Row().Ends:
			return ev.Kind.Row().Phrase(ev)
		case in == "" && (ev.Kind == boot.KindStart || ev.Kind == boot.KindAsked):
			return ""
		}
	}
	return ""
}
