package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
)

// How often a transfer is shown.
const (
	barEvery  = 200 * time.Millisecond // on a terminal, over itself
	lineEvery = 10 * time.Second       // elsewhere, a line each
)

// A progress shows a person how far a transfer is.
type progress struct {
	w        io.Writer
	terminal bool
	start    time.Time
	shown    time.Time
	meter    human.Meter
	bar      human.Bar
	drawn    bool     // a bar stands on the line
	failed   string   // what the last protocol failed of, to be told if the transfer goes on
	protos   []string // that carried bytes
	carried  int64    // bytes that were moved now, without those that were there
}

func newProgress(w io.Writer) *progress {
	now := time.Now()
	return &progress{w: w, terminal: isTerminal(w), start: now, shown: now}
}

// isTerminal reports whether a person watches.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// moved is for pull.Puller's Progress.
func (p *progress) moved(proto string, done, total int64) {
	p.tell()
	now := time.Now()
	p.meter.Add(now, done)
	every := lineEvery
	if p.terminal {
		every = barEvery
	}
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	p.bar = human.Bar{Label: proto, Done: done, Total: total, Rate: p.meter.Rate()}
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s", p.bar)
		p.drawn = true
		return
	}
	fmt.Fprintln(p.w, strings.TrimRight(p.bar.String(), " "))
}

// changed is for pull.Puller's Notify.
func (p *progress) changed(c pull.Attempt) {
	p.tell()
	if c.To > c.From {
		p.carried += c.To - c.From
		if n := len(p.protos); n == 0 || p.protos[n-1] != c.Proto {
			p.protos = append(p.protos, c.Proto)
		}
	}
	if c.Err != nil {
		p.failed = fmt.Sprintf("%s failed at byte %d: %v; trying again", c.Proto, c.To, c.Err)
	}
}

// tell says what failed, once it is known that it was not the end. The end is
// told by the command's own error.
func (p *progress) tell() {
	if p.failed != "" {
		p.line("%s", p.failed)
		p.failed = ""
	}
}

// line prints one line, not into the bar.
func (p *progress) line(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprintf(p.w, "\r%*s\r", human.BarWidth, "")
		p.drawn = false
	}
}

// summary is what was moved: "171.0 MiB by ftp in 3.2s (53.4 MiB/s)".
func (p *progress) summary() string {
	took := time.Since(p.start)
	s := human.Bytes(p.carried)
	if len(p.protos) > 0 {
		s += " by " + strings.Join(p.protos, ", then ")
	}
	s += fmt.Sprintf(" in %v", took.Round(time.Millisecond))
	if secs := took.Seconds(); p.carried > 0 && secs > 0 {
		s += fmt.Sprintf(" (%s/s)", human.Bytes(int64(float64(p.carried)/secs)))
	}
	return s
}
