package journal

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/human"
)

// Bounds of an event's strings, in bytes. Longer ones are cut.
const (
	maxText = 512
	maxWord = 128 // IDs and digests: a SHA-256 has 64
)

// Clean makes an event's strings fit for a log and a terminal. A device may
// have chosen them.
func Clean(ev boot.Event) boot.Event {
	ev.Text = printable(ev.Text, maxText)
	ev.File = printable(ev.File, maxText)
	for _, s := range []*string{&ev.Machine, &ev.Boot, &ev.Job, &ev.Proto, &ev.Disk, &ev.Image, &ev.Digest, &ev.Session} {
		*s = printable(*s, maxWord)
	}
	ev.Kind = boot.Kind(printable(string(ev.Kind), maxWord))
	return ev
}

// printable returns s as one printable line of at most n bytes.
func printable(s string, n int) string { return human.Line(human.Cut(s, n)) }

// logEvent logs an event. The message is its text. The attributes are its fields
// that are set, under their JSON keys. event=true marks the line.
func logEvent(log *slog.Logger, ev boot.Event) {
	h, ctx, lv := log.Handler(), context.Background(), ev.Kind.Row().Level
	if !h.Enabled(ctx, lv) {
		return
	}
	// The record is made here, since it carries the event's time.
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

// ParseLine reads an event back from a log line of slog's JSONHandler. It
// reports false for any other line.
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
