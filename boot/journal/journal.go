// Package journal keeps what happened to each machine: the one stream of events
// that log, page, API and verdicts render.
package journal

import (
	"container/list"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// What a journal holds at most, besides the events it keeps overall. An event
// is some 300 bytes and its strings, so the stories stay below 30 MB even when
// every one of them is full.
const (
	maxStories = 256 // machines
	maxStory   = 200 // events of one machine
	maxBehind  = 256 // events that a subscriber may lag behind
)

// A Journal is safe for use by several goroutines.
type Journal struct {
	log *slog.Logger
	add sync.Mutex // held over one Add, so that the log has the order of Seq

	mu      sync.Mutex // guards what follows
	seq     uint64
	all     ring
	stories map[string]*list.Element // of *story, by Machine.ID
	heard   *list.List               // machines that only the appliance spoke of, latest last
	told    *list.List               // machines that spoke themselves, or that a person asked about
	subs    map[chan boot.Event]struct{}
}

// A story is the latest of what happened to one machine.
type story struct {
	machine string
	events  ring
	in      *list.List // heard or told
}

// New returns an empty journal that keeps the last keep events overall, and
// writes every event to log as it comes.
func New(log *slog.Logger, keep int) *Journal {
	return &Journal{
		log:     log,
		all:     ring{max: max(keep, 1)},
		stories: map[string]*list.Element{},
		heard:   list.New(),
		told:    list.New(),
		subs:    map[chan boot.Event]struct{}{},
	}
}

// Add records an event and returns it as recorded: with its Seq, the Time of
// this machine's clock, and strings that fit one line each.
func (j *Journal) Add(ev boot.Event) boot.Event {
	j.add.Lock()
	defer j.add.Unlock()
	ev = Clean(ev)
	ev.Time = time.Now().Round(0)
	j.record(&ev)
	write(j.log, ev)
	return ev
}

func (j *Journal) record(ev *boot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	ev.Seq = j.seq
	j.all.add(*ev)
	if ev.Machine != "" {
		j.tell(*ev)
	}
	for c := range j.subs {
		offer(c, *ev)
	}
}

// offer never waits: where the subscriber is too slow, its oldest event goes.
// Only one goroutine at a time offers, so that there is room after one receive.
func offer(c chan boot.Event, ev boot.Event) {
	for {
		select {
		case c <- ev:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// tell adds the event to its machine's story.
func (j *Journal) tell(ev boot.Event) {
	e, ok := j.stories[ev.Machine]
	if !ok {
		e = j.heard.PushBack(&story{machine: ev.Machine, events: ring{max: maxStory}, in: j.heard})
		j.stories[ev.Machine] = e
	}
	s := e.Value.(*story)
	if s.in == j.heard && (FromDevice(ev.Kind) || ev.Kind == boot.KindAsked) {
		s.in.Remove(e)
		s.in = j.told
		e = s.in.PushBack(s)
		j.stories[ev.Machine] = e
	}
	s.in.MoveToBack(e)
	// Progress comes once a second: a story needs the latest, or a long flash
	// would push out its own beginning.
	if last := s.events.last(); last != nil && last.Kind == boot.KindWrite && ev.Kind == boot.KindWrite && last.Boot == ev.Boot {
		*last = ev
	} else {
		s.events.add(ev)
	}
	if len(j.stories) > maxStories {
		j.forget()
	}
}

// forget drops one story: of a machine that was only heard, since anyone can
// make up MACs, unless those have just a quarter of the room.
func (j *Journal) forget() {
	from := j.told
	if j.heard.Len() > maxStories/4 {
		from = j.heard
	}
	e := from.Front()
	delete(j.stories, e.Value.(*story).machine)
	from.Remove(e)
}

// Machine returns what is remembered of one machine, oldest first. Of progress
// events in a row it has only the last.
func (j *Journal) Machine(id string) []boot.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.stories[id]
	if !ok {
		return nil
	}
	return e.Value.(*story).events.list()
}

// Since returns the events after seq that are still kept, oldest first.
func (j *Journal) Since(seq uint64) []boot.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.all.list()
	for i, ev := range all {
		if ev.Seq > seq {
			return all[i:]
		}
	}
	return nil
}

// Subscribe returns a channel of the events that are added from now on. It is
// closed when ctx ends. A reader that falls behind loses the oldest, which
// shows as a gap in Seq.
func (j *Journal) Subscribe(ctx context.Context) <-chan boot.Event {
	c := make(chan boot.Event, maxBehind)
	j.mu.Lock()
	j.subs[c] = struct{}{}
	j.mu.Unlock()
	context.AfterFunc(ctx, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.subs, c)
		close(c)
	})
	return c
}

// A ring keeps the last max events. It grows as it fills.
type ring struct {
	max, next int // next is the oldest once the ring is full
	buf       []boot.Event
}

func (r *ring) add(ev boot.Event) {
	if len(r.buf) < r.max {
		r.buf = append(r.buf, ev)
		return
	}
	r.buf[r.next] = ev
	r.next = (r.next + 1) % r.max
}

func (r *ring) last() *boot.Event {
	if len(r.buf) == 0 {
		return nil
	}
	return &r.buf[(r.next+len(r.buf)-1)%len(r.buf)]
}

func (r *ring) list() []boot.Event {
	return append(append(make([]boot.Event, 0, len(r.buf)), r.buf[r.next:]...), r.buf[:r.next]...)
}
