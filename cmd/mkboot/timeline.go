package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

// A step is one of those from power-on to the flashed system.
type step struct {
	name  string
	event func(*timeline, boot.Event) bool // reports whether an event shows that it happened
	line  string                           // or the start of a console line that shows it

	reached bool
	at      time.Duration
	bytes   int64
	by      map[string]bool // protocols
}

// flashedLine begins what the flashed system says when it is up, see
// scripts/diskimage.
const flashedLine = "flashed system: up from "

// A timeline says which steps a machine has reached. Events and lines may come
// from two goroutines. Their times are those of one clock.
type timeline struct {
	mu      sync.Mutex
	on      bool // the machine was turned on,
	onAt    time.Duration
	steps   []*step
	image   string           // as served
	size    int64            // of the image as stored
	carried map[string]int64 // bytes of the image by protocol, as the appliance served them
	failed  string           // why a job failed
	end     chan struct{}    // closed at the last step, and when a job failed
}

func newTimeline(b *board.Board, image string, m *images.Manifest) *timeline {
	kind := func(k boot.Kind) func(*timeline, boot.Event) bool {
		return func(_ *timeline, ev boot.Event) bool { return ev.Kind == k }
	}
	served := func(prefix string) func(*timeline, boot.Event) bool {
		return func(_ *timeline, ev boot.Event) bool {
			return ev.Kind == boot.KindServe && ev.Bytes > 0 && strings.HasPrefix(ev.File, prefix)
		}
	}
	return &timeline{
		image: image, size: m.Stored.Size, carried: map[string]int64{}, end: make(chan struct{}),
		steps: []*step{
			{name: "DHCP", event: kind(boot.KindDHCP)},
			{name: "firmware", event: served("firmware/" + b.Name + "/")},
			{name: "agent", line: "bootlace agent "},
			{name: "plan", event: served("plan/")},
			{name: "pull", event: func(t *timeline, ev boot.Event) bool {
				return ev.Kind == boot.KindServe && ev.File == t.image && ev.Bytes > 0
			}},
			{name: "write", line: "verify [", bytes: m.Raw.Size}, // the bar of the next stage
			{name: "read-back", event: kind(boot.KindVerify)},
			{name: "done", event: kind(boot.KindDone)},
			{name: "reboot", event: kind(boot.KindHandover)},
			{name: "flashed system", line: flashedLine},
		},
	}
}

// powerOn says when the machine was turned on. What came before does not count.
func (t *timeline) powerOn(at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on, t.onAt = true, at
}

// event takes an event of the appliance's journal.
func (t *timeline) event(at time.Duration, ev boot.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return
	}
	ev.File = strings.TrimLeft(ev.File, "/") // some clients ask for absolute paths
	if ev.Kind == boot.KindServe && ev.File == t.image {
		t.carried[ev.Proto] += ev.Bytes
	}
	if ev.Kind == boot.KindFailed && t.failed == "" {
		t.failed = ev.Text
		t.finish()
	}
	for i, st := range t.steps {
		if st.event == nil || !st.event(t, ev) {
			continue
		}
		// After the first boot the same events come again.
		if slices.ContainsFunc(t.steps[i+1:], func(later *step) bool { return later.reached }) {
			return
		}
		st.reach(at, ev)
		return
	}
}

func (st *step) reach(at time.Duration, ev boot.Event) {
	st.reached, st.at = true, at
	if ev.Kind == boot.KindServe {
		st.bytes += ev.Bytes
	} else if ev.Bytes > 0 {
		st.bytes = ev.Bytes
	}
	if ev.Proto != "" {
		if st.by == nil {
			st.by = map[string]bool{}
		}
		st.by[ev.Proto] = true
	}
}

// line takes a line of the machine's console.
func (t *timeline) line(at time.Duration, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, st := range t.steps {
		if st.line == "" || st.reached || !strings.HasPrefix(line, st.line) {
			continue
		}
		st.reached, st.at = true, at
		if i == len(t.steps)-1 {
			t.finish()
		}
	}
}

func (t *timeline) finish() {
	select {
	case <-t.end:
	default:
		close(t.end)
	}
}

// missing says which steps have not happened. It is nil if all have.
func (t *timeline) missing() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var not []string
	if t.failed != "" {
		not = append(not, "the job failed: "+t.failed)
	}
	for _, st := range t.steps {
		if !st.reached {
			not = append(not, "no "+st.name)
		}
	}
	if t.carried["ftp"] < t.size {
		not = append(not, fmt.Sprintf("FTP carried %d bytes of the image's %d", t.carried["ftp"], t.size))
	}
	if len(not) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(not, "; "))
}

// table writes one row a step: when it ended, how long it took since the step
// before, how many bytes it moved, and by which protocols.
func (t *timeline) table(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "%-16s %8s %9s %12s  %s\n", "step", "at s", "seconds", "bytes", "protocol")
	last := t.onAt
	fmt.Fprintf(w, "%-16s %8.1f\n", "power-on", last.Seconds())
	for _, st := range t.steps {
		if !st.reached {
			fmt.Fprintf(w, "%-16s %8s\n", st.name, "missing")
			continue
		}
		size := ""
		if st.bytes > 0 {
			size = human.Bytes(st.bytes)
		}
		row := fmt.Sprintf("%-16s %8.1f %9.1f %12s  %s", st.name, st.at.Seconds(), max(st.at-last, 0).Seconds(), size,
			strings.Join(slices.Sorted(maps.Keys(st.by)), ", "))
		fmt.Fprintln(w, strings.TrimRight(row, " "))
		last = st.at
	}
}
