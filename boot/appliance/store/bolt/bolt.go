package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Timing of the embedded store.
type Timing struct {
	// Lock is how long Open waits for another instance to let go of the file.
	// One that is just ending needs tens of ms, for the fsync of its last
	// commit. A person is to be told within a second.
	Lock time.Duration
	// Sweep is how often expired entries are deleted. Reading hides them at
	// once. So this bounds only disk space, and how late a watcher hears.
	Sweep time.Duration
}

// DefaultTiming is what Open uses.
var DefaultTiming = Timing{Lock: 800 * time.Millisecond, Sweep: 30 * time.Second}

// sweepMax is how many expired entries one transaction deletes, so that none
// holds up the writers for long.
const sweepMax = 256

// bucket is the one bucket. Its sequence is the store's revision.
var bucket = []byte("entries")

// A Store is an open file.
type Store struct {
	db      *bbolt.DB
	now     func() time.Time
	history *store.History
	writes  chan write
	sweeps  chan struct{} // asks for one before its time

	ending  context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // the writer
}

// A write is a change that the writer goroutine is to make.
type write struct {
	ctx    context.Context
	change func(*bbolt.Tx) ([]store.Entry, error)
	done   chan<- written // holds one
}

// written is what came of a write.
type written struct {
	entries []store.Entry
	err     error
}

// Open opens the file, or makes it. One that another instance holds is
// store.ErrBusy, within a second.
func Open(path string) (*Store, error) { return open(path, DefaultTiming, time.Now) }

func open(path string, timing Timing, now func() time.Time) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: timing.Lock})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: %w", path, store.ErrBusy)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	var rev uint64
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err == nil {
			rev = b.Sequence()
		}
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{db: db, now: now, history: store.NewHistory(rev), writes: make(chan write), sweeps: make(chan struct{})}
	s.ending, s.end = context.WithCancel(context.Background())
	s.running.Go(func() { s.writer(timing.Sweep) })
	return s, nil
}

// Close ends every call, and gives the file back.
func (s *Store) Close() error {
	s.end()
	s.running.Wait()
	s.history.Close()
	return s.db.Close()
}

// writer makes all changes, one after the other, and tells the watchers.
func (s *Store) writer(sweep time.Duration) {
	t := time.NewTicker(sweep)
	defer t.Stop()
	for {
		select {
		case <-s.ending.Done():
			return
		case w := <-s.writes:
			if w.ctx.Err() != nil { // nobody waits for it any more
				w.done <- written{err: context.Cause(w.ctx)}
				continue
			}
			w.done <- s.commit(w.change)
		case <-t.C:
			s.sweep()
		case <-s.sweeps:
			s.sweep()
		}
	}
}

// commit makes one change. Only the writer calls it.
func (s *Store) commit(change func(*bbolt.Tx) ([]store.Entry, error)) (w written) {
	w.err = s.db.Update(func(tx *bbolt.Tx) (err error) {
		w.entries, err = change(tx)
		return err
	})
	if w.err != nil {
		return written{err: w.err}
	}
	for _, e := range w.entries {
		s.history.Add(e)
	}
	return w
}

// do has the writer make a change, and waits for it as long as ctx lasts.
func (s *Store) do(ctx context.Context, change func(*bbolt.Tx) ([]store.Entry, error)) ([]store.Entry, error) {
	done := make(chan written, 1)
	select {
	case s.writes <- write{ctx, change, done}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ending.Done():
		return nil, store.ErrClosed
	}
	select {
	case w := <-done: // of a write that was begun, before Close too
		return w.entries, w.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (e store.Entry, err error) {
	if err = store.Check(ctx, key, nil); err == nil {
		err = s.view(func(tx *bbolt.Tx) error {
			var ok bool
			if e, ok, err = read(tx, key, s.now()); err == nil && !ok {
				err = store.ErrNotFound
			}
			return err
		})
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	return e, nil
}

func (s *Store) view(f func(*bbolt.Tx) error) error {
	err := s.db.View(f)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// Swap implements store.Store.
func (s *Store) Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (store.Entry, error) {
	err := store.Check(ctx, key, value)
	if err != nil {
		return store.Entry{}, fmt.Errorf("swap %s: %w", key, err)
	}
	value = bytes.Clone(value) // the caller may go before it is written
	entries, err := s.do(ctx, func(tx *bbolt.Tx) ([]store.Entry, error) {
		old, _, err := read(tx, key, s.now())
		if err != nil {
			return nil, err
		}
		if old.Rev != rev {
			return nil, store.ErrConflict
		}
		e, err := put(tx, key, value, expires)
		return []store.Entry{e}, err
	})
	if err != nil {
		return store.Entry{}, fmt.Errorf("swap %s: %w", key, err)
	}
	e := entries[0]
	e.Value = bytes.Clone(e.Value) // the history keeps the other
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) (list []store.Entry, rev uint64, err error) {
	now := s.now()
	err = s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		rev = b.Sequence()
		c := b.Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if !e.Expired(now) {
				list = append(list, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	return list, rev, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64, f func(store.Entry)) error {
	return s.history.Watch(ctx, prefix, after, f)
}

// sweep deletes what has expired. Its errors are those of the disk, which the
// next Swap will meet and report. Only the writer calls it.
func (s *Store) sweep() {
	for s.ending.Err() == nil {
		now := s.now()
		old := s.expired(now) // a transaction that writes costs an fsync, even for nothing
		if len(old) == 0 {
			return
		}
		w := s.commit(func(tx *bbolt.Tx) (gone []store.Entry, err error) {
			for _, key := range old {
				e, err := put(tx, key, nil, time.Time{})
				if err != nil {
					return nil, err
				}
				gone = append(gone, e)
			}
			return gone, nil
		})
		if w.err != nil {
			return
		}
	}
}

// expired lists at most sweepMax keys whose entries have expired.
func (s *Store) expired(now time.Time) (keys []string) {
	s.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.First(); k != nil && len(keys) < sweepMax; k, v = c.Next() {
			if e, err := decode(k, v); err == nil && e.Expired(now) {
				keys = append(keys, e.Key)
			}
		}
		return nil
	})
	return keys
}
