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

// Update sets the value of a name to what f makes of the one that it has. With
// ok false it has none. Where another holder of the store changes it meanwhile,
// f is called again with what they made of it. So f looks at nothing but its
// arguments. An error of f ends Update, and is returned as it is. The Mirror
// holds the new value when Update returns.
//
// Where f misses a value, it returns ErrNotFound. The store is then asked once,
// since another holder may just have made it. A value that cannot be read is
// not overwritten: the error wraps ErrUnreadable.
func (m *Mirror[T]) Update(ctx context.Context, name string, f func(old Item[T], ok bool) (Item[T], error)) (Item[T], error) {
	return m.swap(ctx, name, func(old Item[T], ok bool) (Item[T], []byte, error) {
		item, err := f(old, ok)
		if err != nil {
			return item, nil, err
		}
		value, err := json.Marshal(item.Value)
		return item, value, err
	})
}

// Delete deletes the value of a name, as Update sets it. Where the store has
// none it returns ErrNotFound and does not call f.
func (m *Mirror[T]) Delete(ctx context.Context, name string, f func(old Item[T]) error) error {
	_, err := m.swap(ctx, name, func(old Item[T], ok bool) (Item[T], []byte, error) {
		if !ok {
			return old, nil, ErrNotFound
		}
		return Item[T]{}, nil, f(old)
	})
	return err
}

// swap is the compare-and-swap loop. next returns what is to be set, and its
// encoding, nil to delete.
func (m *Mirror[T]) swap(ctx context.Context, name string, next func(Item[T], bool) (Item[T], []byte, error)) (Item[T], error) {
	key := m.kind.Prefix + name
	now, asked := m.slot(name), false
	for range maxTries {
		if now.bad != nil {
			return Item[T]{}, now.bad
		}
		item, value, err := next(now.Item, now.rev > 0)
		if errors.Is(err, ErrNotFound) && now.rev == 0 && !asked {
			asked = true
			if now, err = m.fetch(ctx, name); err != nil {
				return Item[T]{}, m.failed(ctx, err)
			}
			if now.rev > 0 || now.bad != nil {
				continue
			}
			err = ErrNotFound
		}
		if err != nil {
			return Item[T]{}, err
		}
		e, err := m.store.Swap(ctx, key, now.rev, value, item.Expires)
		if err == nil {
			m.answered(nil)
			m.wrote(name, e)
			return Item[T]{item.Value, e.Expires}, nil
		}
		if errors.Is(err, ErrConflict) {
			now, err = m.fetch(ctx, name)
		}
		if err != nil {
			return Item[T]{}, m.failed(ctx, err)
		}
	}
	return Item[T]{}, fmt.Errorf("%s: %d times: %w", key, maxTries, ErrConflict)
}

// failed tells the log of an error of the store, once. A caller who went away
// says nothing of the store.
func (m *Mirror[T]) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		m.answered(err)
	}
	return err
}

// slot returns what is known of a name, the zero slot where that is nothing.
func (m *Mirror[T]) slot(name string) slot[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.slots[name]; !s.expired(time.Now()) {
		return s
	}
	return slot[T]{}
}

// fetch reads one name anew.
func (m *Mirror[T]) fetch(ctx context.Context, name string) (slot[T], error) {
	e, err := m.store.Get(ctx, m.kind.Prefix+name)
	switch {
	case errors.Is(err, ErrNotFound):
		m.mu.Lock()
		defer m.mu.Unlock()
		m.drop(name)
		return slot[T]{}, nil
	case err != nil:
		return slot[T]{}, err
	}
	m.apply(e, false)
	return m.slot(name), nil
}

// wrote takes over a change of our own, which the watch will tell later.
func (m *Mirror[T]) wrote(name string, e Entry) {
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
