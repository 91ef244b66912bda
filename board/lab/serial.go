package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Line of a serial console, without escape sequences and control characters.
type Line struct {
	At   time.Duration // since the machine was turned on
	Text string
}

// Limits of what is kept of a console.
const (
	maxLine  = 8 << 10
	maxLines = 20000
)

// serial cuts the bytes of a console into lines. A line ends where the cursor
// leaves it: at CR, at LF, or at an escape sequence that moves the cursor. UEFI
// firmware draws with those.
type serial struct {
	start time.Time
	each  func(Line)
	raw   io.Writer

	mu      sync.Mutex
	lines   []Line
	gone    int // lines dropped from the front
	seen    int // lines that waitFor has passed, dropped ones included
	closed  bool
	changed chan struct{} // closed and replaced with every line

	buf   []byte
	state byte // of the escape sequence being skipped: 0, ESC, or '['
}

func newSerial(each func(Line), raw io.Writer) *serial {
	return &serial{each: each, raw: raw, changed: make(chan struct{})}
}

// Write takes the console's bytes. exec.Cmd calls it from one goroutine.
func (s *serial) Write(p []byte) (int, error) {
	if s.raw != nil {
		s.raw.Write(p)
	}
	for _, c := range p {
		switch {
		case s.state == 0x1b:
			s.state = 0
			if c == '[' {
				s.state = '['
			}
		case s.state == '[': // ECMA-48 section 5.4: parameters, then one final byte
			if c >= 0x40 && c <= 0x7e {
				s.state = 0
				if c == 'H' {
					s.endLine()
				}
			}
		case c == 0x1b:
			s.state = c
		case c == '\n' || c == '\r':
			s.endLine()
		case c < ' ' && c != '\t' || c == 0x7f:
		default:
			s.buf = append(s.buf, c)
			if len(s.buf) == maxLine {
				s.endLine()
			}
		}
	}
	return len(p), nil
}

// endLine ends a line. Empty lines do not count.
func (s *serial) endLine() {
	text := strings.TrimRight(string(s.buf), " \t")
	s.buf = s.buf[:0]
	if text == "" {
		return
	}
	line := Line{At: time.Since(s.start), Text: text}
	s.mu.Lock()
	if s.lines = append(s.lines, line); len(s.lines) > maxLines {
		n := len(s.lines) - maxLines/2
		s.lines = append([]Line(nil), s.lines[n:]...)
		s.gone += n
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if s.each != nil {
		s.each(line)
	}
}

// finish ends the last line. Nothing is written afterwards.
func (s *serial) finish() {
	s.endLine()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	close(s.changed)
}

func (s *serial) all() []Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Line(nil), s.lines...)
}

// last returns the last n lines, indented.
func (s *serial) last(n int) string {
	lines := s.all()
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-n):] {
		fmt.Fprintf(&b, "\t%6.1f %s\n", l.At.Seconds(), l.Text)
	}
	return b.String()
}

var errOff = errors.New("the machine is off")

// waitFor returns the first line after those that it has passed that matches.
func (s *serial) waitFor(ctx context.Context, re *regexp.Regexp) (Line, error) {
	for {
		s.mu.Lock()
		s.seen = max(s.seen, s.gone)
		for s.seen < s.gone+len(s.lines) {
			line := s.lines[s.seen-s.gone]
			s.seen++
			if re.MatchString(line.Text) {
				s.mu.Unlock()
				return line, nil
			}
		}
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if closed {
			return Line{}, errOff
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, context.Cause(ctx)
		}
	}
}
