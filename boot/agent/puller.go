package agent

import (
	"fmt"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
)

// newPuller gets files as the plan says. It draws a bar, and reports which
// protocol carried which bytes and why it ended.
func newPuller(s *Session, p *boot.Plan, name string) *pull.Puller {
	var meter human.Meter
	return &pull.Puller{
		Sources: p.Sources,
		TFTPMax: p.TFTPMax,
		Log:     s.cfg.Log, // what Notify says would be on the console twice
		Notify: func(a pull.Attempt) {
			text := carried(name, a)
			s.console.say("%s", text)
			ev := boot.Event{Kind: boot.KindPull, Proto: a.Proto, File: name, Bytes: a.To - a.From, Took: a.Took, Text: text}
			if a.Err != nil {
				ev.Kind = boot.KindRetry
			}
			s.Reporter.Report(ev)
		},
		Progress: func(proto string, done, total int64) {
			now := time.Now()
			meter.Add(now, done)
			s.console.draw(done == total, func() string {
				return human.Bar{Label: proto, Done: done, Total: total, Rate: meter.Rate()}.String()
			})
		},
	}
}

// carried says what one protocol did of a pull.
func carried(name string, a pull.Attempt) string {
	switch {
	case a.Err == nil && a.From == 0:
		return fmt.Sprintf("%s carried %s, %s in %v", a.Proto, name, human.Bytes(a.To), a.Took.Round(time.Millisecond))
	case a.Err == nil:
		return fmt.Sprintf("%s carried %s from byte %d to its end at %d, in %v", a.Proto, name, a.From, a.To, a.Took.Round(time.Millisecond))
	case a.From == a.To:
		return fmt.Sprintf("%s carried nothing of %s: %v", a.Proto, name, a.Err)
	}
	return fmt.Sprintf("%s carried %s from byte %d to %d, then: %v", a.Proto, name, a.From, a.To, a.Err)
}
