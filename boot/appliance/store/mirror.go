package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Timing of calls to a store.
type Timing struct {
	// Packet is what the calls of one room have on the way of a packet. A
	// DHCP packet passes two rooms, registry and leases, so an answer leaves
	// within 2 × 250 ms. Clients ask again after a second at the earliest
	// (iPXE, and RFC 8415 section 7.6: SOL_TIMEOUT 1 s).
	Packet time.Duration
	// Again is the pause before a Mirror reads anew, after the watch or the
	// reading failed. A change is to be seen within a second: 0.2 s and a List.
	Again time.Duration
	// Read is what one such reading has. It is on no packet's way. Some MB
	// over a slow network take seconds.
	Read time.Duration
}

// DefaultTiming is what every Mirror uses.
var DefaultTiming = Timing{Packet: 250 * time.Millisecond, Again: 200 * time.Millisecond, Read: 10 * time.Second}

var (
	// ErrLate is the cause of a PacketContext that ended.
	ErrLate = errors.New("the store did not answer in time")
	// ErrUnreadable is wrapped where a value is not what its reader knows. It
	// may be a newer version's, and is never overwritten.
	ErrUnreadable = errors.New("value cannot be read")
)

// PacketContext bounds calls to a store on the way of a packet. It is used
// where a room is entered, once a packet.
func PacketContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, DefaultTiming.Packet, ErrLate)
}

// A Kind says how the entries under one prefix are read and followed. Values
// are JSON.
type Kind[T any] struct {
	Prefix string
	// Check refuses a value that was decoded; nil takes all. The name is the
	// key without the prefix.
	Check func(name string, value T) error
	// Changed is told of each value that is set or, with ok false, gone. That
	// of one name come in the order of revisions. The Mirror is locked
	// meanwhile: Changed may not call it, and must be quick. It is not told
	// of entries that expire before the store deletes them, nor of values
	// that cannot be read. May be nil.
	Changed func(name string, now Item[T], ok bool)
	// Unreadable is told of a value that cannot be read, as Changed is of
	// others. May be nil.
	Unreadable func(name string, expires time.Time)
}

// An Item is a typed value. Whoever reads it may not change what it points to.
type Item[T any] struct {
	Value   T
	Expires time.Time // zero: never
}

// A Mirror is a map in memory of the entries under one prefix of a store. It
// reads them once, and then follows what any holder of the store changes.
// Reading it costs no call. Its methods may be called from several goroutines.
type Mirror[T any] struct {
	store  Store
	kind   Kind[T]
	log    *slog.Logger
	timing Timing

	mu     sync.Mutex
	slots  map[string]slot[T]
	gone   map[string]uint64 // revisions of our own deletions that the watch has not told yet
	silent bool              // the store does not answer, and that was told
}

// A slot is one entry, readable or not.
type slot[T any] struct {
	Item[T]
	rev uint64
	bad error // why it cannot be read
}

func (s slot[T]) expired(now time.Time) bool { return Entry{Expires: s.Expires}.Expired(now) }

// NewMirror reads the entries. It then follows them until ctx ends or the
// store is closed.
func NewMirror[T any](ctx context.Context, s Store, kind Kind[T], log *slog.Logger) (*Mirror[T], error) {
	m := &Mirror[T]{
		store: s, kind: kind, log: log, timing: DefaultTiming,
		slots: map[string]slot[T]{}, gone: map[string]uint64{},
	}
	rev, err := m.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kind.Prefix, err)
	}
	go m.follow(ctx, rev)
	return m, nil
}

// Get returns the value of a name. Errors are ErrNotFound, or wrap
// ErrUnreadable.
func (m *Mirror[T]) Get(name string) (Item[T], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.slots[name]
	switch {
	case !ok || s.expired(time.Now()):
		return Item[T]{}, ErrNotFound
	case s.bad != nil:
		return Item[T]{}, s.bad
	}
	return s.Item, nil
}

// All returns every value that can be read, by name.
func (m *Mirror[T]) All() map[string]Item[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	all := make(map[string]Item[T], len(m.slots))
	for name, s := range m.slots {
		if s.bad == nil && !s.expired(now) {
			all[name] = s.Item
		}
	}
	return all
}

// Unreadable returns the names whose values cannot be read.
func (m *Mirror[T]) Unreadable() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.slots {
		if s.bad != nil && !s.expired(time.Now()) {
			names = append(names, name)
		}
	}
	return names
}

// follow applies changes until ctx ends or the store is closed.
func (m *Mirror[T]) follow(ctx context.Context, rev uint64) {
	for {
		err := m.store.Watch(ctx, m.kind.Prefix, rev, func(e Entry) { m.apply(e, true) })
		for {
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return
			}
			if errors.Is(err, ErrGap) {
				m.log.Warn("store: changes were missed, all are read anew", "prefix", m.kind.Prefix)
			} else {
				m.answered(err)
				wait(ctx, m.timing.Again)
			}
			if rev, err = m.read(ctx); err == nil {
				m.answered(nil)
				break
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// read takes over all that the store holds, and returns the store's revision.
func (m *Mirror[T]) read(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timing.Read)
	defer cancel()
	entries, rev, err := m.store.List(ctx, m.kind.Prefix)
	if err != nil {
		return 0, err
	}
	listed := map[string]bool{}
	for _, e := range entries {
		listed[e.Key] = true
		m.apply(e, false)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.slots {
		if s.rev <= rev && !listed[m.kind.Prefix+name] {
			m.drop(name)
		}
	}
	for name, at := range m.gone {
		if at <= rev {
			delete(m.gone, name)
		}
	}
	return rev, nil
}

// apply takes over an entry, unless a later one is known. Watched entries come
// in the order of revisions.
func (m *Mirror[T]) apply(e Entry, watched bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := strings.TrimPrefix(e.Key, m.kind.Prefix)
	if e.Rev <= m.gone[name] || e.Rev <= m.slots[name].rev {
		if watched && e.Rev == m.gone[name] {
			delete(m.gone, name)
		}
		return
	}
	if e.Value == nil {
		m.drop(name)
		return
	}
	s := slot[T]{rev: e.Rev}
	s.Expires = e.Expires
	err := json.Unmarshal(e.Value, &s.Value)
	if err == nil && m.kind.Check != nil {
		err = m.kind.Check(name, s.Value)
	}
	if err != nil {
		s.bad = fmt.Errorf("%w: %s: %w", ErrUnreadable, e.Key, err)
		m.log.Warn("store: value cannot be read, and is left as it is", "key", e.Key, "err", err)
	}
	m.slots[name] = s
	switch {
	case s.bad == nil && m.kind.Changed != nil:
		m.kind.Changed(name, s.Item, true)
	case s.bad != nil && m.kind.Unreadable != nil:
		m.kind.Unreadable(name, s.Expires)
	}
}

// drop forgets a name. The caller holds m.mu.
func (m *Mirror[T]) drop(name string) {
	if _, ok := m.slots[name]; !ok {
		return
	}
	delete(m.slots, name)
	if m.kind.Changed != nil {
		m.kind.Changed(name, Item[T]{}, false)
	}
}

// answered tells the log when calls begin to fail, and when they succeed again.
// It does so once, however many packets wait.
func (m *Mirror[T]) answered(err error) {
	m.mu.Lock()
	silent, before := err != nil, m.silent
	m.silent = silent
	m.mu.Unlock()
	switch {
	case silent && !before:
		m.log.Error("store: call failed", "prefix", m.kind.Prefix, "err", err)
	case !silent && before:
		m.log.Info("store: calls succeed again", "prefix", m.kind.Prefix)
	}
}
