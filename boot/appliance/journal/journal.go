package journal

import (
	"container/list"
	"context"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// Bounds of a journal, beside the events that it keeps overall. An event takes
// some 300 bytes and its strings. So full stories take less than 30 MB. They
// take 120 MB if every string is as long as Clean allows.
const (
	maxStories = 256 // machines
	maxStory   = 200 // events of one machine
	maxLag     = 256 // events that a subscriber may lag behind
)

// A Journal is safe for use by several goroutines.
type Journal struct {
	log   *slog.Logger
	addMu sync.Mutex // held during Add, so that the log has the order of Seq

	mu         sync.Mutex // guards what follows
	seq        uint64
	all        ring
	stories    map[string]*list.Element // a *story each, by Machine.ID
	unreported *list.List               // stories without a report or order, latest last
	reported   *list.List               // stories with a report or order, latest last
	subs       map[chan boot.Event]struct{}
}

// A story holds a machine's latest events in two rings. One has what the
// appliance observed. The other has what the device reported and a person
// ordered. Anybody can send packets with a machine's MAC. Kept apart, those
// cannot push out its reports.
type story struct {
	machine            string
	observed, reported ring
	queue              *list.List // Journal.unreported or Journal.reported
}

// events returns the events of both rings, in order.
func (s *story) events() []boot.Event {
	all := append(s.observed.events(), s.reported.events()...)
	sort.Slice(all, func(i, j int) bool { return all[i].Seq < all[j].Seq })
	return all
}

// New returns an empty journal. It keeps the last keep events overall, and logs
// each event.
func New(log *slog.Logger, keep int) *Journal {
	return &Journal{
		log:        log,
		all:        ring{capacity: max(keep, 1)},
		stories:    map[string]*list.Element{},
		unreported: list.New(),
		reported:   list.New(),
		subs:       map[chan boot.Event]struct{}{},
	}
}

// Add records an event and returns it as recorded. Seq and Time are set, and
// each string fits on one line.
func (j *Journal) Add(ev boot.Event) boot.Event {
	j.addMu.Lock()
	defer j.addMu.Unlock()
	ev = Clean(ev)
	ev.Time = time.Now().Round(0)
	j.record(&ev)
	logEvent(j.log, ev)
	return ev
}

func (j *Journal) record(ev *boot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	ev.Seq = j.seq
	j.all.add(*ev)
	if ev.Machine != "" {
		j.addToStory(*ev)
	}
	for c := range j.subs {
		sendLatest(c, *ev)
	}
}

// sendLatest never waits. If the subscriber is late, its oldest event is
// dropped. Only one goroutine calls it at a time, so one receive makes room.
func sendLatest(c chan boot.Event, ev boot.Event) {
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

// addToStory adds an event to its machine's story.
func (j *Journal) addToStory(ev boot.Event) {
	e, ok := j.stories[ev.Machine]
	if !ok {
		e = j.unreported.PushBack(&story{machine: ev.Machine, observed: ring{capacity: maxStory / 2}, reported: ring{capacity: maxStory / 2}, queue: j.unreported})
		j.stories[ev.Machine] = e
	}
	s, into := e.Value.(*story), &e.Value.(*story).observed
	if ev.Kind.Row().FromDevice || ev.Kind == boot.KindAsked {
		into = &s.reported
	}
	if s.queue == j.unreported && into == &s.reported {
		s.queue.Remove(e)
		s.queue = j.reported
		e = s.queue.PushBack(s)
		j.stories[ev.Machine] = e
	}
	s.queue.MoveToBack(e)
	// Progress events come once a second. A story keeps only the latest one.
	// Otherwise a long flash would push out its own beginning.
	if last := into.back(0); last != nil && last.Kind == boot.KindWrite && ev.Kind == boot.KindWrite && last.Boot == ev.Boot {
		*last = ev
	} else {
		into.add(ev)
	}
	if len(j.stories) > maxStories {
		j.evict()
	}
}

// evict drops the oldest story. It prefers machines without a report, since
// anybody can make up MACs. These always keep a quarter of the room.
func (j *Journal) evict() {
	from := j.reported
	if j.unreported.Len() > maxStories/4 {
		from = j.unreported
	}
	e := from.Front()
	delete(j.stories, e.Value.(*story).machine)
	from.Remove(e)
}

// Machine returns the events kept of one machine, oldest first. Of progress
// events in a row it has only the last.
func (j *Journal) Machine(id string) []boot.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.stories[id]
	if !ok {
		return nil
	}
	return e.Value.(*story).events()
}

// Since returns the kept events after seq, oldest first, and at most n of them.
// A caller that sends them slowly can ask for a few at a time.
func (j *Journal) Since(seq uint64, n int) (evs []boot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq >= j.seq {
		return nil
	}
	// Seq has no gaps.
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
// closed when ctx ends. A late reader loses the oldest events. It sees that as
// a gap in Seq.
func (j *Journal) Subscribe(ctx context.Context) <-chan boot.Event {
	c := make(chan boot.Event, maxLag)
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
	capacity, next int // next is the index of the oldest event once the ring is full
	buf            []boot.Event
}

func (r *ring) add(ev boot.Event) {
	if len(r.buf) < r.capacity {
		r.buf = append(r.buf, ev)
		return
	}
	r.buf[r.next] = ev
	r.next = (r.next + 1) % r.capacity
}

// back returns the event before the last n, nil where there is none.
func (r *ring) back(n int) *boot.Event {
	if n >= len(r.buf) {
		return nil
	}
	return &r.buf[(r.next+len(r.buf)-1-n)%len(r.buf)]
}

func (r *ring) events() []boot.Event {
	return append(append(make([]boot.Event, 0, len(r.buf)), r.buf[r.next:]...), r.buf[:r.next]...)
}
