package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxTries bounds a compare-and-swap loop, each try of which another writer won.
const maxTries = 16

// update is [Mirror.Update] without the type.
func (m *untypedMirror) update(ctx context.Context, name string, f func(old item, ok bool) (item, error)) (item, error) {
	return m.swap(ctx, name, func(old item, ok bool) (item, []byte, error) {
		set, err := f(old, ok)
		if err != nil {
			return set, nil, err
		}
		value, err := json.Marshal(set.value)
		return set, value, err
	})
}

// remove is [Mirror.Delete] without the type.
func (m *untypedMirror) remove(ctx context.Context, name string, f func(old item) error) error {
	_, err := m.swap(ctx, name, func(old item, ok bool) (item, []byte, error) {
		if !ok {
			return old, nil, ErrNotFound
		}
		return item{}, nil, f(old)
	})
	return err
}

// swap is the compare-and-swap loop. next returns what is to be set, and its
// encoding, nil to delete.
func (m *untypedMirror) swap(ctx context.Context, name string, next func(old item, ok bool) (item, []byte, error)) (item, error) {
	key := m.kind.prefix + name
	now, asked := m.slot(name), false
	for range maxTries {
		if now.bad != nil {
			return item{}, now.bad
		}
		set, value, err := next(now.item, now.rev > 0)
		if errors.Is(err, ErrNotFound) && now.rev == 0 && !asked {
			asked = true
			if now, err = m.fetch(ctx, name); err != nil {
				return item{}, m.failed(ctx, err)
			}
			if now.rev > 0 || now.bad != nil {
				continue
			}
			err = ErrNotFound
		}
		if err != nil {
			return item{}, err
		}
		e, err := m.store.Swap(ctx, key, now.rev, value, set.expires)
		if err == nil {
			m.answered(nil)
			m.wrote(name, e)
			return item{set.value, e.Expires}, nil
		}
		if errors.Is(err, ErrConflict) {
			now, err = m.fetch(ctx, name)
		}
		if err != nil {
			return item{}, m.failed(ctx, err)
		}
	}
	return item{}, fmt.Errorf("%s: %d times: %w", key, maxTries, ErrConflict)
}

// failed tells the log of an error of the store, once. A caller who went away
// says nothing of the store.
func (m *untypedMirror) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		m.answered(err)
	}
	return err
}

// slot returns what is known of a name, the zero slot where that is nothing.
func (m *untypedMirror) slot(name string) slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.slots[name]; !s.expired(time.Now()) {
		return s
	}
	return slot{}
}

// fetch reads one name anew.
func (m *untypedMirror) fetch(ctx context.Context, name string) (slot, error) {
	e, err := m.store.Get(ctx, m.kind.prefix+name)
	switch {
	case errors.Is(err, ErrNotFound):
		m.mu.Lock()
		defer m.mu.Unlock()
		m.drop(name)
		return slot{}, nil
	case err != nil:
		return slot{}, err
	}
	m.apply(e, false)
	return m.slot(name), nil
}

// wrote takes over a change of our own, which the watch will tell later.
func (m *untypedMirror) wrote(name string, e Entry) {
	if e.Value != nil {
		m.apply(e, false)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.slots[name]; ok && s.rev < e.Rev { // else the watch told it already
		m.drop(name)
		m.gone[name] = e.Rev
	}
}
