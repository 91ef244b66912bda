package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/journal"
)

// consoles prints the lines of two machines as they come. It also keeps all
// lines, unchanged, in one file for each machine. Times are those of one clock.
type consoles struct {
	mu    sync.Mutex
	out   io.Writer
	logs  map[string]*os.File
	shown map[string]time.Time // when a progress line of a machine was printed last
}

func newConsoles(out io.Writer, dir string) (*consoles, error) {
	c := &consoles{out: out, logs: map[string]*os.File{}, shown: map[string]time.Time{}}
	for _, machine := range []string{"appliance", "machine"} {
		f, err := os.Create(filepath.Join(dir, machine+".log"))
		if err != nil {
			c.closeLogs()
			return nil, err
		}
		c.logs[machine] = f
	}
	return c, nil
}

func (c *consoles) closeLogs() {
	for _, f := range c.logs {
		f.Close()
	}
}

var (
	kernelLine = regexp.MustCompile(`^\[ *\d+\.\d+\]`)
	barLine    = regexp.MustCompile(`\[#*\.*\] +(\d+)%`)
)

// progressEvery is the least time between two printed progress lines: bars that
// a console draws over each other, and the device's reports of progress.
const progressEvery = 2 * time.Second

// line takes a line of a machine's console.
func (c *consoles) line(machine string, at time.Duration, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.logs[machine], "%8.3f %s\n", at.Seconds(), text)
	if kernelLine.MatchString(text) {
		return
	}
	if isProgress(text) {
		if time.Since(c.shown[machine]) < progressEvery {
			return
		}
		c.shown[machine] = time.Now()
	}
	fmt.Fprintf(c.out, "%-11s %6.1f  %s\n", "["+machine+"]", at.Seconds(), readable(text))
}

func isProgress(line string) bool {
	if bar := barLine.FindStringSubmatch(line); bar != nil {
		return bar[1] != "100"
	}
	ev, ok := journal.ParseLine([]byte(line))
	return ok && ev.Kind == boot.KindWrite
}

// readable turns a line of a JSON log into one for a person. Others stay.
func readable(line string) string {
	if ev, ok := journal.ParseLine([]byte(line)); ok {
		return fmt.Sprintf("%s: %s", ev.Kind, ev.Text)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(line)))
	d.UseNumber()
	var l map[string]any
	if !strings.HasPrefix(line, "{") || d.Decode(&l) != nil {
		return line
	}
	text := fmt.Sprint(l["msg"])
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if key != "msg" && key != "time" && (key != "level" || l[key] != "INFO") {
			text += fmt.Sprintf(" %s=%v", key, l[key])
		}
	}
	return text
}
