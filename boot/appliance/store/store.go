package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Entry is one key's value at one revision.
type Entry struct {
	Key     string
	Value   []byte    // a copy, for the caller to keep; nil in Watch: the key is gone
	Rev     uint64    // of the change that made it; a later change of any key has a higher one
	Expires time.Time // zero: never; kept to the second, rounded up
}

// Expired reports whether the entry is as good as deleted.
func (e Entry) Expired(now time.Time) bool { return !e.Expires.IsZero() && !now.Before(e.Expires) }

// Limits on what may be stored. etcd's own limit is 1.5 MiB a request.
const (
	MaxKey   = 512     // bytes
	MaxValue = 1 << 20 // bytes
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed by someone else meanwhile")
	ErrBusy     = errors.New("another instance of bootlace has it open; stop that one, or choose another state folder")
	ErrClosed   = errors.New("store is closed")
	// ErrGap ends a Watch that missed changes. etcd calls it "compacted".
	ErrGap = errors.New("changes were missed")
)

// A Store holds entries. Its methods may be called from several goroutines.
// For each of them an entry that has expired is as good as deleted.
//
// A call returns when its context ends. A Swap whose context ended may still
// be carried out; Watch or Get tell.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// Swap sets a key whose entry still has revision rev. It returns the new
	// entry. Revision 0 means that there is no entry yet, and a nil value
	// deletes the key. ErrConflict: the key is at another revision.
	Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (Entry, error)

	// List returns the entries whose keys begin with prefix, ordered by key.
	// The revision is the store's: a Watch after it misses nothing.
	List(ctx context.Context, prefix string) (entries []Entry, rev uint64, err error)

	// Watch calls f with each change of keys that begin with prefix, in the
	// order of revisions, beginning with the first after revision `after`. An
	// entry that expires is such a change, within a minute. It returns when
	// ctx ends, ErrClosed when the store is closed, and ErrGap when changes
	// between are known no more. Then only List tells what there is.
	Watch(ctx context.Context, prefix string, after uint64, f func(Entry)) error

	// Close ends every call.
	Close() error
}

// Check holds what every store refuses: a context that ended, a key or a value
// that is too long.
func Check(ctx context.Context, key string, value []byte) error {
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

// WholeSeconds rounds a time of expiry up, as every store keeps it. The zero
// time stays zero.
func WholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Unix(max(t.Add(time.Second-1).Unix(), 1), 0)
}
