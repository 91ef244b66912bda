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
	KindDHCP    Kind = "dhcp"    // an exchange was answered, or left unanswered on purpose
	KindServe   Kind = "serve"   // a file went out, or did not
	KindPlan    Kind = "plan"    // a plan was made
	KindAsked   Kind = "asked"   // a person gave an order
	KindRefused Kind = "refused" // a report came with a wrong token, or none
)

// What a device reports.
const (
	KindStart    Kind = "start"    // our firmware started: board, disks, links
	KindPull     Kind = "pull"     // a protocol carried a file; Proto and Bytes say which and how much
	KindWrite    Kind = "write"    // progress of writing, at most one a second
	KindVerify   Kind = "verify"   // read-back ended
	KindLocal    Kind = "local"    // the machine will boot from its disk; Text says how
	KindWaiting  Kind = "waiting"  // the machine waits
	KindRetry    Kind = "retry"    // something failed and is tried again
	KindDone     Kind = "done"     // the job is whole
	KindFailed   Kind = "failed"   // the job failed; Text says why
	KindHandover Kind = "handover" // kexec, reboot, poweroff
)

// LevelProgress is the log level of progress. The default level of a log hides
// it. The firmware's console shows it.
const LevelProgress = slog.LevelInfo - 1

// A KindRow says what a kind of event is. A new kind is one row.
type KindRow struct {
	Kind       Kind
	FromDevice bool               // a device may report it; else only the appliance makes it
	Ends       bool               // it ends a job
	Passing    bool               // an older event's phrase goes before this one
	Level      slog.Level         // of its line in the log
	Phrase     func(Event) string // the machine's status after it; nil: it changes none
}

// Kinds has a row for each kind.
var Kinds = []KindRow{
	{Kind: KindDHCP, Passing: true, Phrase: phrase("asking for its firmware")},
	{Kind: KindServe, Passing: true, Phrase: phrase("asking for its firmware")},
	{Kind: KindPlan, Passing: true, Phrase: phrase("was told what to do")},
	{Kind: KindAsked, Phrase: phraseWithText("asked: ")},
	{Kind: KindRefused, Level: slog.LevelWarn},

	{Kind: KindStart, FromDevice: true, Phrase: phrase("started")},
	{Kind: KindPull, FromDevice: true, Phrase: func(ev Event) string { return "pulling " + ev.File }},
	{Kind: KindWrite, FromDevice: true, Level: LevelProgress, Phrase: func(ev Event) string { return "flashing" + percent(ev) }},
	{Kind: KindVerify, FromDevice: true, Phrase: phrase("verified")},
	{Kind: KindLocal, FromDevice: true, Phrase: phrase("booting from its disk")},
	{Kind: KindWaiting, FromDevice: true, Phrase: phrase("waiting")},
	{Kind: KindRetry, FromDevice: true, Level: slog.LevelWarn, Phrase: phraseWithText("trying again: ")},
	{Kind: KindDone, FromDevice: true, Ends: true, Phrase: phrase("done")},
	{Kind: KindFailed, FromDevice: true, Ends: true, Level: slog.LevelError, Phrase: phraseWithText("failed: ")},
	{Kind: KindHandover, FromDevice: true, Phrase: phraseWithText("handed over: ")},
}

// Row returns the kind's row. A kind that is not in the table has an empty one.
func (k Kind) Row() KindRow {
	i := slices.IndexFunc(Kinds, func(r KindRow) bool { return r.Kind == k })
	if i < 0 {
		return KindRow{Kind: k}
	}
	return Kinds[i]
}

func phrase(phrase string) func(Event) string { return func(Event) string { return phrase } }

func phraseWithText(before string) func(Event) string {
	return func(ev Event) string { return before + ev.Text }
}

// percent says how much of a step is done, rounded down. It is "" where the
// total is unknown.
func percent(ev Event) string {
	if ev.Total <= 0 {
		return ""
	}
	return fmt.Sprintf(" %.0f %%", math.Floor(min(100, 100*float64(ev.Bytes)/float64(ev.Total))))
}
