// Package store keeps the state that several appliances will one day share:
// leases, machines, jobs. It is small enough for bbolt and etcd alike: get,
// compare-and-swap by revision, list and watch by prefix, entries that expire.
// Nobody holds a transaction over two keys.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Entry is one key's value at one revision. Values are copies; callers may
// keep and change them.
type Entry struct {
	Key     string
	Value   []byte    // nil in a Watch: the key is gone
	Rev     uint64    // of the change that made it; a later change of any key has a higher one
	Expires time.Time // zero: never. Kept to the second, rounded up
}

// Limits on what may be stored; etcd's own is 1.5 MiB a request.
const (
	MaxKey   = 512     // bytes
	MaxValue = 1 << 20 // bytes
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed by someone else meanwhile")
	ErrBusy     = errors.New("another instance of bootlace has it open; stop that one, or choose another state folder")
)

// A Store holds entries. All methods may be called at once from anywhere; an
// entry that has expired is as good as deleted for every one of them.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// Swap sets a key whose entry still has revision rev, 0 meaning that
	// there is none, and returns the new entry. A nil value deletes it. It
	// returns ErrConflict where the key is at another revision.
	Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (Entry, error)

	// List returns the entries whose keys begin with prefix, in the order of keys.
	List(ctx context.Context, prefix string) ([]Entry, error)

	// Watch sends each change from now on of the keys that begin with prefix,
	// in the order of revisions, until ctx ends or the store is closed; then
	// it closes the channel. A watcher that is slow misses all but the last
	// change of a key.
	Watch(ctx context.Context, prefix string) (<-chan Entry, error)

	Close() error
}

func check(ctx context.Context, key string, value []byte) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case key == "" || len(key) > MaxKey:
		return fmt.Errorf("key of %d bytes: want 1 to %d", len(key), MaxKey)
	case len(value) > MaxValue:
		return fmt.Errorf("value of %d bytes: want at most %d", len(value), MaxValue)
	}
	return nil
}
