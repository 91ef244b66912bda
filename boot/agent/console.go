package agent

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot/human"
)

// A console writes lines, and between them a bar that is drawn over itself.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	bar  bool // the cursor stands behind a bar
	last time.Time
}

// use writes to w from now on.
func (c *console) use(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = w
}

// Write writes whole lines, on lines of their own.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar {
		c.bar = false
		c.w.Write([]byte("\n"))
	}
	return c.w.Write(p)
}

// hello writes the agent's first line.
func (c *console) hello(version, board string) {
	fmt.Fprintf(c, "bootlace agent %s %s\n", version, board)
}

// say writes a line for a person. It may hold a server's words.
func (c *console) say(format string, args ...any) {
	fmt.Fprintf(c, "bootlace: %s\n", human.Lines(fmt.Sprintf(format, args...)))
}

// barEvery is often enough to see that it moves. 80 bytes take 83 ms at 9600
// baud.
const barEvery = time.Second

// draw draws the bar that text returns over the last one. It does so once a
// second, and for the final one.
func (c *console) draw(final bool, text func() string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < barEvery && !final {
		return
	}
	c.last, c.bar = time.Now(), true
	c.w.Write([]byte("\r" + text()))
}
