package store

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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
type Mirror[T any] struct{ untyped *untypedMirror }

// NewMirror reads the entries. It then follows them until ctx ends or the
// store is closed.
func NewMirror[T any](ctx context.Context, s Store, k Kind[T], log *slog.Logger) (*Mirror[T], error) {
	kind := untypedKind{prefix: k.Prefix, unreadable: k.Unreadable}
	kind.decode = func(name string, raw []byte) (any, error) {
		var value T
		err := json.Unmarshal(raw, &value)
		if err == nil && k.Check != nil {
			err = k.Check(name, value)
		}
		return value, err
	}
	if k.Changed != nil {
		kind.changed = func(name string, now item, ok bool) { k.Changed(name, typed[T](now), ok) }
	}
	m, err := newUntyped(ctx, s, kind, log)
	if err != nil {
		return nil, err
	}
	return &Mirror[T]{m}, nil
}

// typed gives an item its type. The zero item becomes the zero Item.
func typed[T any](i item) Item[T] {
	value, _ := i.value.(T)
	return Item[T]{value, i.expires}
}

// Get returns the value of a name. Errors are ErrNotFound, or wrap
// ErrUnreadable.
func (m *Mirror[T]) Get(name string) (Item[T], error) {
	i, err := m.untyped.get(name)
	return typed[T](i), err
}

// All returns every value that can be read, by name.
func (m *Mirror[T]) All() map[string]Item[T] {
	all := map[string]Item[T]{}
	for name, i := range m.untyped.all() {
		all[name] = typed[T](i)
	}
	return all
}

// Unreadable returns the names whose values cannot be read.
func (m *Mirror[T]) Unreadable() []string { return m.untyped.unreadable() }

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
	i, err := m.untyped.update(ctx, name, func(old item, ok bool) (item, error) {
		set, err := f(typed[T](old), ok)
		return item{set.Value, set.Expires}, err
	})
	return typed[T](i), err
}

// Delete deletes the value of a name, as Update sets it. Where the store has
// none it returns ErrNotFound and does not call f.
func (m *Mirror[T]) Delete(ctx context.Context, name string, f func(old Item[T]) error) error {
	return m.untyped.remove(ctx, name, func(old item) error { return f(typed[T](old)) })
}
