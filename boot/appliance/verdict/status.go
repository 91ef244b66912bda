package verdict

import (
	"cmp"
	"slices"

	"github.com/bootlace/bootlace/boot"
)

// Status says in a few words where a machine stands, from its events in order:
// "flashing 37 %", "done", "failed: disk is too small". It is "" where nothing
// is known. The words of each kind are in boot.Kinds.
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
			// A reboot after done or failed is not what a person asks about.
			return cmp.Or(verdict(events, ev.Boot), phrase)
		case ev.Kind == boot.KindDHCP:
			// A machine that was flashed asks for its loader at every start. How
			// its last job ended says more, until it reports something new.
			return cmp.Or(verdict(events, ""), seen, phrase)
		case !row.Passing:
			return phrase
		}
		// The image goes out while the machine writes: not a state of its own.
		seen = cmp.Or(seen, phrase)
	}
	return seen
}

// verdict returns how a job ended, in the given boot or in any.
func verdict(events []boot.Event, in string) string {
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
