package agent

import (
	"fmt"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
)

// puller gets files as the plan says, draws a bar, and reports which protocol
// carried which bytes and why it ended.
func (s *Session) puller(p *boot.Plan, name string) *pull.Puller {
	var meter human.Meter
	return &pull.Puller{
		Sources: p.Sources,
		TFTPMax: p.TFTPMax,
		Log:     s.cfg.Log, // what Notify says would be on the console twice
		Notify: func(c pull.Attempt) {
			text := carried(name, c)
			s.say("%s", text)
			ev := boot.Event{Kind: boot.KindPull, Proto: c.Proto, File: name, Bytes: c.To - c.From, Took: c.Took, Text: text}
			if c.Err != nil {
				ev.Kind = boot.KindRetry
			}
			s.Reporter.Report(ev)
		},
		Progress: func(proto string, done, total int64) {
			now := time.Now()
			meter.Add(now, done)
			s.screen.draw(done == total, func() string {
				return human.Bar{Label: proto, Done: done, Total: total, Rate: meter.Rate()}.String()
			})
		},
	}
}

// carried says what one protocol did of a pull.
func carried(name string, c pull.Attempt) string {
	switch {
	case c.Err == nil && c.From == 0:
		return fmt.Sprintf("%s carried %s, %s in %v", c.Proto, name, human.Bytes(c.To), c.Took.Round(time.Millisecond))
	case c.Err == nil:
		return fmt.Sprintf("%s carried %s from byte %d to its end at %d, in %v", c.Proto, name, c.From, c.To, c.Took.Round(time.Millisecond))
	case c.From == c.To:
		return fmt.Sprintf("%s carried nothing of %s: %v", c.Proto, name, c.Err)
	}
	return fmt.Sprintf("%s carried %s from byte %d to %d, then: %v", c.Proto, name, c.From, c.To, c.Err)
}
