package boot

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
)

// A Kind says what happened.
type Kind string

// What the appliance sees.
const (
	KindDHCP    Kind = "dhcp"    // an exchange was answered, or on purpose not
	KindServe   Kind = "serve"   // a file went out, or did not
	KindPlan    Kind = "plan"    // a plan was made
	KindAsked   Kind = "asked"   // a person gave an order
	KindRefused Kind = "refused" // a report came with a wrong token, or none
)

// What a device reports.
const (
	KindStart    Kind = "start"    // our firmware runs: board, disks, links
	KindPull     Kind = "pull"     // a protocol carried a file; Proto and Bytes say which and how much
	KindWrite    Kind = "write"    // progress of writing, at most one a second
	KindVerify   Kind = "verify"   // read-back ended
	KindLocal    Kind = "local"    // will boot from its disk; Text says how
	KindWaiting  Kind = "waiting"  // is told to wait
	KindRetry    Kind = "retry"    // something failed that is tried again
	KindDone     Kind = "done"     // the job is whole
	KindFailed   Kind = "failed"   // the job failed; Text says why
	KindHandover Kind = "handover" // kexec, reboot, poweroff
)

// LevelProgress is the log level of progress. A log usually does not show it,
// the firmware's console does.
const LevelProgress = slog.LevelInfo - 1

// A KindRow says what a kind of event is. A new kind is one row.
type KindRow struct {
	Kind       Kind
	FromDevice bool               // a device may report it; all others are the appliance's own
	Ends       bool               // it ends a job
	Passing    bool               // its phrase holds only until an older event says more
	Level      slog.Level         // of its line in the log
	Phrase     func(Event) string // the machine's status after it; nil: it changes none
}

// Kinds has a row for each kind.
var Kinds = []KindRow{
	{Kind: KindDHCP, Passing: true, Phrase: say("asking for its firmware")},
	{Kind: KindServe, Passing: true, Phrase: say("asking for its firmware")},
	{Kind: KindPlan, Passing: true, Phrase: say("was told what to do")},
	{Kind: KindAsked, Phrase: sayText("asked: ")},
	{Kind: KindRefused, Level: slog.LevelWarn},

	{Kind: KindStart, FromDevice: true, Phrase: say("started")},
	{Kind: KindPull, FromDevice: true, Phrase: func(ev Event) string { return "pulling " + ev.File }},
	{Kind: KindWrite, FromDevice: true, Level: LevelProgress, Phrase: func(ev Event) string { return "flashing" + percent(ev) }},
	{Kind: KindVerify, FromDevice: true, Phrase: say("verified")},
	{Kind: KindLocal, FromDevice: true, Phrase: say("booting from its disk")},
	{Kind: KindWaiting, FromDevice: true, Phrase: say("waiting")},
	{Kind: KindRetry, FromDevice: true, Level: slog.LevelWarn, Phrase: sayText("trying again: ")},
	{Kind: KindDone, FromDevice: true, Ends: true, Phrase: say("done")},
	{Kind: KindFailed, FromDevice: true, Ends: true, Level: slog.LevelError, Phrase: sayText("failed: ")},
	{Kind: KindHandover, FromDevice: true, Phrase: sayText("handed over: ")},
}

// Row returns the kind's row. A kind that is not in the table has an empty one.
func (k Kind) Row() KindRow {
	i := slices.IndexFunc(Kinds, func(r KindRow) bool { return r.Kind == k })
	if i < 0 {
		return KindRow{Kind: k}
	}
	return Kinds[i]
}

func say(phrase string) func(Event) string { return func(Event) string { return phrase } }

func sayText(before string) func(Event) string {
	return func(ev Event) string { return before + ev.Text }
}

// percent is how much of a step is done, rounded down, "" where nobody knows.
func percent(ev Event) string {
	if ev.Total <= 0 {
		return ""
	}
	return fmt.Sprintf(" %.0f %%", math.Floor(min(100, 100*float64(ev.Bytes)/float64(ev.Total))))
}
