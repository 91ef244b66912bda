package link

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Console writes to several terminals at once, so that whoever looks at the
// screen and whoever looks at the serial line see the same.
type Console struct {
	mu    sync.Mutex
	ttys  []*os.File
	stuck []bool
}

// writeTime bounds a write to one console. A serial line with flow control and
// nobody at its end would stop the machine. A screenful of 2,000 bytes takes
// 2.1 s at 9600 baud.
const writeTime = 3 * time.Second

// OpenConsole opens the named devices under /dev, or with no names those the
// kernel itself writes to. Where none can be opened, it writes to standard error.
func OpenConsole(names ...string) *Console {
	if len(names) == 0 {
		raw, _ := os.ReadFile("/sys/class/tty/console/active")
		names = strings.Fields(string(raw))
	}
	c := new(Console)
	for _, name := range names {
		// To open a console= of a port that is not there is an error.
		f, err := os.OpenFile(filepath.Join("/dev", filepath.Base(name)), os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			c.ttys = append(c.ttys, f)
		}
	}
	if len(c.ttys) == 0 {
		c.ttys = []*os.File{os.Stderr}
	}
	c.stuck = make([]bool, len(c.ttys))
	return c
}

// Write writes p to every console. It never fails, for there is nowhere left to
// say so. A console that took too long is not waited for again until it moves.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, tty := range c.ttys {
		wait := writeTime
		if c.stuck[i] {
			wait = time.Millisecond
		}
		tty.SetWriteDeadline(time.Now().Add(wait)) // files without deadlines just block
		_, err := tty.Write(p)
		c.stuck[i] = os.IsTimeout(err)
	}
	return len(p), nil
}
