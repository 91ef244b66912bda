package agent

import (
	"io"
	"sync"
	"time"
)

// A screen writes lines, and between them a bar that is drawn over itself.
type screen struct {
	mu   sync.Mutex
	w    io.Writer
	bar  bool // the cursor stands behind a bar
	last time.Time
}

func (s *screen) use(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
}

// Write writes whole lines, on lines of their own.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar {
		s.bar = false
		s.w.Write([]byte("\n"))
	}
	return s.w.Write(p)
}

// barEvery is often enough to see that it moves; 80 bytes take 83 ms at 9600 baud.
const barEvery = time.Second

// draw draws the bar that text returns over the last one, once a second or
// when it is the final one.
func (s *screen) draw(final bool, text func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last) < barEvery && !final {
		return
	}
	s.last, s.bar = time.Now(), true
	s.w.Write([]byte("\r" + text()))
}
