package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// An untypedMirror is a [Mirror] of values whose type it does not know. It is
// compiled once, not once more for each type of value.
type untypedMirror struct {
	store  Store
	kind   untypedKind
	log    *slog.Logger
	timing Timing

	mu     sync.Mutex
	slots  map[string]slot
	gone   map[string]uint64 // revisions of our own deletions that the watch has not told yet
	silent bool              // the store does not answer, and that was told
}

// An untypedKind is a [Kind] of such values.
type untypedKind struct {
	prefix     string
	decode     func(name string, raw []byte) (any, error)
	changed    func(name string, now item, ok bool) // may be nil
	unreadable func(name string, expires time.Time) // may be nil
}

// An item is an [Item] of such a value. The zero item has none: its value is nil.
type item struct {
	value   any
	expires time.Time // zero: never
}

// A slot is one entry, readable or not.
type slot struct {
	item
	rev uint64
	bad error // why it cannot be read
}

func (s slot) expired(now time.Time) bool { return Entry{Expires: s.expires}.Expired(now) }

// newUntyped reads the entries. It then follows them until ctx ends or the store
// is closed.
func newUntyped(ctx context.Context, s Store, k untypedKind, log *slog.Logger) (*untypedMirror, error) {
	m := &untypedMirror{
		store: s, kind: k, log: log, timing: DefaultTiming,
		slots: map[string]slot{}, gone: map[string]uint64{},
	}
	rev, err := m.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k.prefix, err)
	}
	go m.follow(ctx, rev)
	return m, nil
}

func (m *untypedMirror) get(name string) (item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.slots[name]
	switch {
	case !ok || s.expired(time.Now()):
		return item{}, ErrNotFound
	case s.bad != nil:
		return item{}, s.bad
	}
	return s.item, nil
}

// all returns every value that can be read, by name.
func (m *untypedMirror) all() map[string]item {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	all := make(map[string]item, len(m.slots))
	for name, s := range m.slots {
		if s.bad == nil && !s.expired(now) {
			all[name] = s.item
		}
	}
	return all
}

// unreadable returns the names whose values cannot be read.
func (m *untypedMirror) unreadable() (names []string) {
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
func (m *untypedMirror) follow(ctx context.Context, rev uint64) {
	for {
		err := m.store.Watch(ctx, m.kind.prefix, rev, func(e Entry) { m.apply(e, true) })
		for {
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return
			}
			if errors.Is(err, ErrGap) {
				m.log.Warn("store: changes were missed, all are read anew", "prefix", m.kind.prefix)
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
func (m *untypedMirror) read(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timing.Read)
	defer cancel()
	entries, rev, err := m.store.List(ctx, m.kind.prefix)
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
		if s.rev <= rev && !listed[m.kind.prefix+name] {
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
func (m *untypedMirror) apply(e Entry, watched bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := strings.TrimPrefix(e.Key, m.kind.prefix)
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
	value, err := m.kind.decode(name, e.Value)
	s := slot{item: item{value, e.Expires}, rev: e.Rev}
	if err != nil {
		s.bad = fmt.Errorf("%w: %s: %w", ErrUnreadable, e.Key, err)
		m.log.Warn("store: value cannot be read, and is left as it is", "key", e.Key, "err", err)
	}
	m.slots[name] = s
	switch {
	case s.bad == nil && m.kind.changed != nil:
		m.kind.changed(name, s.item, true)
	case s.bad != nil && m.kind.unreadable != nil:
		m.kind.unreadable(name, s.expires)
	}
}

// drop forgets a name. The caller holds m.mu.
func (m *untypedMirror) drop(name string) {
	if _, ok := m.slots[name]; !ok {
		return
	}
	delete(m.slots, name)
	if m.kind.changed != nil {
		m.kind.changed(name, item{}, false)
	}
}

// answered tells the log when calls begin to fail, and when they succeed again.
// It does so once, however many packets wait.
func (m *untypedMirror) answered(err error) {
	m.mu.Lock()
	silent, before := err != nil, m.silent
	m.silent = silent
	m.mu.Unlock()
	switch {
	case silent && !before:
		m.log.Error("store: call failed", "prefix", m.kind.prefix, "err", err)
	case !silent && before:
		m.log.Info("store: calls succeed again", "prefix", m.kind.prefix)
	}
}
