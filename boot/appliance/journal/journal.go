// Package journal keeps what happened to each machine: the one stream of events
// that log, page, API and verdicts render.
package journal

import (
	"cmp"
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// What a journal holds at most, besides the events it keeps overall. An event
// is some 300 bytes and its strings, so the stories stay below 30 MB even when
// every one of them is full; 120 MB where strangers fill them, with strings as
// long as Clean lets them be.
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

// A story is the latest of what happened to one machine: what the appliance saw
// of it apart from what it said and a person asked, since anyone can knock in a
// machine's name until nothing else is left.
type story struct {
	machine    string
	saw, heard ring
	in         *list.List // heard or told
}

// list has both, in order.
func (s *story) list() []boot.Event {
	all := append(s.saw.list(), s.heard.list()...)
	slices.SortFunc(all, func(a, b boot.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
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
		e = j.heard.PushBack(&story{machine: ev.Machine, saw: ring{max: maxStory / 2}, heard: ring{max: maxStory / 2}, in: j.heard})
		j.stories[ev.Machine] = e
	}
	s, into := e.Value.(*story), &e.Value.(*story).saw
	if ev.Kind.Row().FromDevice || ev.Kind == boot.KindAsked {
		into = &s.heard
	}
	if s.in == j.heard && into == &s.heard {
		s.in.Remove(e)
		s.in = j.told
		e = s.in.PushBack(s)
		j.stories[ev.Machine] = e
	}
	s.in.MoveToBack(e)
	// Progress comes once a second: a story needs the latest, or a long flash
	// would push out its own beginning.
	if last := into.back(0); last != nil && last.Kind == boot.KindWrite && ev.Kind == boot.KindWrite && last.Boot == ev.Boot {
		*last = ev
	} else {
		into.add(ev)
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
	return e.Value.(*story).list()
}

// Since returns the events after seq that are still kept, oldest first, and of
// those at most n: whoever hands them on slowly need not hold them all.
func (j *Journal) Since(seq uint64, n int) (evs []boot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq >= j.seq {
		return nil
	}
	// Every number is given once, and in order.
	if kept := uint64(len(j.all.buf)); seq+kept < j.seq {
		seq = j.seq - kept
	}
	for ; seq < j.seq && len(evs) < n; seq++ {
		evs = append(evs, *j.all.back(int(j.seq - seq - 1)))
	}
	return evs
}

// Last returns the Seq of the latest event, 0 before the first.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
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

// back returns the event that n others followed, nil where there is none.
func (r *ring) back(n int) *boot.Event {
	if n >= len(r.buf) {
		return nil
	}
	return &r.buf[(r.next+len(r.buf)-1-n)%len(r.buf)]
}

func (r *ring) list() []boot.Event {
	return append(append(make([]boot.Event, 0, len(r.buf)), r.buf[r.next:]...), r.buf[:r.next]...)
}
