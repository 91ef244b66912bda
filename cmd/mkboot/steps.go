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

// A step is one of those from power-on to the flashed system, in order.
type step struct {
	name  string
	event func(*story, boot.Event) bool // the journal's word that it happened
	line  string                        // or the machine's: start of a line of its console

	reached bool
	at      time.Duration // since power-on
	bytes   int64
	by      map[string]bool // protocols
}

// flashedLine starts what the flashed system says when it is up; see scripts/diskimage.
const flashedLine = "flashed system: up from "

// A story is what has become of a machine so far. Events and lines may come
// from two goroutines.
type story struct {
	mu      sync.Mutex
	steps   []*step
	image   string           // as served
	size    int64            // of the image as stored
	carried map[string]int64 // bytes of the image by protocol, as the appliance served them
	failed  string           // why a job failed
	end     chan struct{}    // closed when there is nothing more to wait for
}

func newStory(b *board.Board, image string, m *images.Manifest) *story {
	kind := func(k boot.Kind) func(*story, boot.Event) bool {
		return func(_ *story, ev boot.Event) bool { return ev.Kind == k }
	}
	served := func(prefix string) func(*story, boot.Event) bool {
		return func(_ *story, ev boot.Event) bool {
			return ev.Kind == boot.KindServe && ev.Bytes > 0 && strings.HasPrefix(ev.File, prefix)
		}
	}
	return &story{
		image: image, size: m.Stored.Size, carried: map[string]int64{}, end: make(chan struct{}),
		steps: []*step{
			{name: "DHCP", event: kind(boot.KindDHCP)},
			{name: "firmware", event: served("firmware/" + b.Name + "/")},
			{name: "agent", line: "bootlace agent "},
			{name: "plan", event: served("plan/")},
			{name: "pull", event: func(s *story, ev boot.Event) bool {
				return ev.Kind == boot.KindServe && ev.File == s.image && ev.Bytes > 0
			}},
			{name: "write", line: "verify [", bytes: m.Raw.Size}, // a bar: the next stage has begun
			{name: "read-back", event: kind(boot.KindVerify)},
			{name: "done", event: kind(boot.KindDone)},
			{name: "reboot", event: kind(boot.KindHandover)},
			{name: "flashed system", line: flashedLine},
		},
	}
}

// heard takes an event of the appliance's journal, at a time since power-on.
func (s *story) heard(at time.Duration, ev boot.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ev.File = strings.TrimLeft(ev.File, "/") // some clients ask for names like a path's
	if ev.Kind == boot.KindServe && ev.File == s.image {
		s.carried[ev.Proto] += ev.Bytes
	}
	if ev.Kind == boot.KindFailed && s.failed == "" {
		s.failed = ev.Text
		s.finish()
	}
	for i, st := range s.steps {
		if st.event == nil || !st.event(s, ev) {
			continue
		}
		// After the first boot the same things happen again.
		if slices.ContainsFunc(s.steps[i+1:], func(later *step) bool { return later.reached }) {
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

// said takes a line of the machine's console.
func (s *story) said(at time.Duration, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, st := range s.steps {
		if st.line == "" || st.reached || !strings.HasPrefix(line, st.line) {
			continue
		}
		st.reached, st.at = true, at
		if i == len(s.steps)-1 {
			s.finish()
		}
	}
}

func (s *story) finish() {
	select {
	case <-s.end:
	default:
		close(s.end)
	}
}

// missing says what keeps the story from a good end; nil where nothing does.
func (s *story) missing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var not []string
	if s.failed != "" {
		not = append(not, "the job failed: "+s.failed)
	}
	for _, st := range s.steps {
		if !st.reached {
			not = append(not, "no "+st.name)
		}
	}
	if s.carried["ftp"] < s.size {
		not = append(not, fmt.Sprintf("FTP carried %d bytes of the image's %d", s.carried["ftp"], s.size))
	}
	if len(not) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(not, "; "))
}

// table writes a row a step: when it ended, how long it took since the one
// before, and what moved in it.
func (s *story) table(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(w, "%-16s %8s %9s %12s  %s\n", "step", "at s", "seconds", "bytes", "protocol")
	var last time.Duration
	for _, st := range s.steps {
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
