package store

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Memory is a Store that ends with its process.
type Memory struct {
	history *History

	mu      sync.Mutex
	rev     uint64
	closed  bool
	entries map[string]Entry
	timers  map[string]*time.Timer // of the entries that expire
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{history: NewHistory(0), entries: map[string]Entry{}, timers: map[string]*time.Timer{}}
}

// Close ends every Watch. What the store held is gone.
func (s *Memory) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range s.timers {
		t.Stop()
	}
	s.history.Close()
	return nil
}

// ready checks a call's arguments. The caller holds s.mu.
func (s *Memory) ready(ctx context.Context, key string, value []byte) error {
	if s.closed {
		return ErrClosed
	}
	return Check(ctx, key, value)
}

// get returns an entry, the zero Entry where there is none. The caller holds s.mu.
func (s *Memory) get(key string) Entry {
	e := s.entries[key]
	if e.Expired(time.Now()) { // and its timer is late
		return Entry{}
	}
	e.Value = slices.Clone(e.Value)
	return e
}

// Get implements Store.
func (s *Memory) Get(ctx context.Context, key string) (Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.ready(ctx, key, nil)
	e := s.get(key)
	if err == nil && e.Rev == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	return e, nil
}

// Swap implements Store.
func (s *Memory) Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.ready(ctx, key, value)
	if err == nil && s.get(key).Rev != rev {
		err = ErrConflict
	}
	if err != nil {
		return Entry{}, fmt.Errorf("swap %s: %w", key, err)
	}
	return s.set(key, value, WholeSeconds(expires)), nil
}

// set makes a change and tells the watchers. The caller holds s.mu.
func (s *Memory) set(key string, value []byte, expires time.Time) Entry {
	if t := s.timers[key]; t != nil {
		t.Stop()
		delete(s.timers, key)
	}
	s.rev++
	e := Entry{Key: key, Rev: s.rev}
	if value == nil {
		delete(s.entries, key)
		s.history.Add(e)
		return e
	}
	e.Value, e.Expires = append([]byte{}, value...), expires
	s.entries[key] = e
	if !expires.IsZero() {
		s.timers[key] = time.AfterFunc(time.Until(expires), func() { s.expire(key, e.Rev) })
	}
	s.history.Add(e)
	e.Value = slices.Clone(e.Value)
	return e
}

// expire deletes an entry that was not renewed meanwhile.
func (s *Memory) expire(key string, rev uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.entries[key].Rev == rev {
		s.set(key, nil, time.Time{})
	}
}

// List implements Store.
func (s *Memory) List(ctx context.Context, prefix string) ([]Entry, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx, "a key", nil); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	var list []Entry
	for key := range s.entries {
		if strings.HasPrefix(key, prefix) {
			if e := s.get(key); e.Rev > 0 {
				list = append(list, e)
			}
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list, s.rev, nil
}

// Watch implements Store.
func (s *Memory) Watch(ctx context.Context, prefix string, after uint64, f func(Entry)) error {
	return s.history.Watch(ctx, prefix, after, f)
}
