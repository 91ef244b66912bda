package journal

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/human"
)

// What the strings of an event hold at most, in bytes. Longer ones are cut.
const (
	maxText = 512
	maxWord = 128 // identifiers and digests: a SHA-256 is 64
)

// Clean makes strings that a device may have chosen fit for one line of a log
// or a terminal.
func Clean(ev boot.Event) boot.Event {
	ev.Text = fit(ev.Text, maxText)
	ev.File = fit(ev.File, maxText)
	for _, s := range []*string{&ev.Machine, &ev.Boot, &ev.Job, &ev.Proto, &ev.Disk, &ev.Image, &ev.Digest, &ev.Session} {
		*s = fit(*s, maxWord)
	}
	ev.Kind = boot.Kind(fit(string(ev.Kind), maxWord))
	return ev
}

// fit is human.Line in at most n bytes.
func fit(s string, n int) string { return human.Line(human.Cut(s, n)) }

// write logs an event: its text is the message, the fields that are set are
// attributes under the keys of its JSON form, and event=true marks the line.
func write(log *slog.Logger, ev boot.Event) {
	h, ctx, lv := log.Handler(), context.Background(), ev.Kind.Row().Level
	if !h.Enabled(ctx, lv) {
		return
	}
	// A record of our own, since the line carries the time of the event.
	r := slog.NewRecord(ev.Time, lv, ev.Text, 0)
	r.AddAttrs(slog.Bool("event", true), slog.Uint64("seq", ev.Seq), slog.String("kind", string(ev.Kind)))
	for _, a := range []slog.Attr{
		slog.String("machine", ev.Machine),
		slog.String("boot", ev.Boot),
		slog.String("job", ev.Job),
		slog.String("proto", ev.Proto),
		slog.String("file", ev.File),
		slog.String("disk", ev.Disk),
		slog.String("image", ev.Image),
		slog.String("digest", ev.Digest),
		slog.String("session", ev.Session),
	} {
		if a.Value.String() != "" {
			r.AddAttrs(a)
		}
	}
	if ev.MAC != (boot.MAC{}) {
		r.AddAttrs(slog.String("mac", ev.MAC.String()))
	}
	for _, a := range []slog.Attr{slog.Int64("bytes", ev.Bytes), slog.Int64("total", ev.Total)} {
		if a.Value.Int64() != 0 {
			r.AddAttrs(a)
		}
	}
	for _, a := range []slog.Attr{slog.Duration("took", ev.Took), slog.Duration("uptime", ev.Uptime)} {
		if a.Value.Duration() != 0 {
			r.AddAttrs(a)
		}
	}
	h.Handle(ctx, r)
}

// ParseLine reads an event back from a line of the log as slog's JSONHandler
// writes it. It reports false where the line is something else.
func ParseLine(line []byte) (boot.Event, bool) {
	var l struct {
		boot.Event
		Mark bool   `json:"event"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(line, &l) != nil || !l.Mark {
		return boot.Event{}, false
	}
	l.Event.Text = l.Msg
	return l.Event, true
}
