package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Timing of the embedded store.
type Timing struct {
	// Lock is how long Open waits for another instance to let go of the file:
	// long enough for one that is just ending (its last commit is an fsync,
	// tens of ms), short enough that a person is told at once.
	Lock time.Duration
	// Sweep is how often expired entries are deleted. Reading hides them at
	// once, so this bounds only disk space and how late a watcher hears.
	Sweep time.Duration
}

// DefaultTiming is what Open uses.
var DefaultTiming = Timing{Lock: 800 * time.Millisecond, Sweep: 30 * time.Second}

// sweepMax is how many expired entries one transaction deletes, so that none
// holds up the writers for long.
const sweepMax = 256

// entries is the one bucket. Its sequence is the store's revision.
var entries = []byte("entries")

// Open opens or makes the file of an embedded store, and the only one who has
// it open. A file that another instance holds is ErrBusy within a second.
func Open(path string) (Store, error) { return open(path, DefaultTiming) }

func open(path string, timing Timing) (*boltStore, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: timing.Lock})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: %w", path, ErrBusy)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(entries)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &boltStore{db: db, watchers: map[*watcher]struct{}{}}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(func() { s.sweepEvery(ctx, timing.Sweep) })
	return s, nil
}

type boltStore struct {
	db      *bolt.DB
	stop    context.CancelFunc
	running sync.WaitGroup // the sweeper and the watchers

	// mu orders the watchers' view: a change is committed and published under it.
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

func (s *boltStore) Close() error {
	s.mu.Lock()
	s.closed = true
	for w := range s.watchers {
		w.end()
	}
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return s.db.Close()
}

func (s *boltStore) Get(ctx context.Context, key string) (e Entry, err error) {
	if err := check(ctx, key, nil); err != nil {
		return e, fmt.Errorf("get %s: %w", key, err)
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		var ok bool
		if e, ok, err = read(tx, key, time.Now()); err == nil && !ok {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	return e, nil
}

func (s *boltStore) Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (e Entry, err error) {
	if err := check(ctx, key, value); err != nil {
		return e, fmt.Errorf("swap %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.db.Update(func(tx *bolt.Tx) error {
		old, _, err := read(tx, key, time.Now())
		if err != nil {
			return err
		}
		if old.Rev != rev {
			return ErrConflict
		}
		e, err = write(tx, key, value, expires)
		return err
	})
	if err != nil {
		return Entry{}, fmt.Errorf("swap %s: %w", key, err)
	}
	s.publish(e)
	return e, nil
}

func (s *boltStore) List(ctx context.Context, prefix string) (list []Entry, err error) {
	now := time.Now()
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(entries).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if !e.expired(now) {
				list = append(list, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	return list, nil
}

// sweepEvery deletes what has expired until ctx ends.
func (s *boltStore) sweepEvery(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			for s.sweep(time.Now()) == sweepMax && ctx.Err() == nil {
			}
		}
	}
}

// sweep deletes at most sweepMax expired entries and says how many. Its errors
// are those of the disk, which the next Swap will meet and report.
func (s *boltStore) sweep(now time.Time) int {
	var old []string
	s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(entries).Cursor()
		for k, v := c.First(); k != nil && len(old) < sweepMax; k, v = c.Next() {
			if e, err := decode(k, v); err == nil && e.expired(now) {
				old = append(old, e.Key)
			}
		}
		return nil
	})
	if len(old) == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []Entry
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, key := range old {
			// It may have been renewed since it was looked at.
			if e, err := decode([]byte(key), tx.Bucket(entries).Get([]byte(key))); err != nil || !e.expired(now) {
				continue
			}
			e, err := write(tx, key, nil, time.Time{})
			if err != nil {
				return err
			}
			gone = append(gone, e)
		}
		return nil
	})
	if err != nil {
		return 0
	}
	for _, e := range gone {
		s.publish(e)
	}
	return len(old)
}

// head is what stands before a value on disk: revision, and Unix seconds at
// which it expires, 0 for never; both 64 bits, big endian.
const head = 16

// read returns the entry of a key, and false where there is none that has not expired.
func read(tx *bolt.Tx, key string, now time.Time) (Entry, bool, error) {
	raw := tx.Bucket(entries).Get([]byte(key))
	if raw == nil {
		return Entry{}, false, nil
	}
	e, err := decode([]byte(key), raw)
	if err != nil || e.expired(now) {
		return Entry{}, false, err
	}
	return e, true, nil
}

func write(tx *bolt.Tx, key string, value []byte, expires time.Time) (Entry, error) {
	b := tx.Bucket(entries)
	rev, err := b.NextSequence()
	if err != nil {
		return Entry{}, err
	}
	if value == nil {
		return Entry{Key: key, Rev: rev}, b.Delete([]byte(key))
	}
	raw := make([]byte, head, head+len(value))
	binary.BigEndian.PutUint64(raw, rev)
	if !expires.IsZero() {
		binary.BigEndian.PutUint64(raw[8:], uint64(max(expires.Add(time.Second-1).Unix(), 1)))
	}
	raw = append(raw, value...)
	if err := b.Put([]byte(key), raw); err != nil {
		return Entry{}, err
	}
	return decode([]byte(key), raw)
}

func decode(key, raw []byte) (Entry, error) {
	if len(raw) < head {
		return Entry{}, fmt.Errorf("entry %q is damaged: %d bytes", key, len(raw))
	}
	e := Entry{Key: string(key), Rev: binary.BigEndian.Uint64(raw), Value: append([]byte{}, raw[head:]...)}
	if at := binary.BigEndian.Uint64(raw[8:]); at != 0 {
		e.Expires = time.Unix(int64(at), 0)
	}
	return e, nil
}

func (e Entry) expired(now time.Time) bool { return !e.Expires.IsZero() && !now.Before(e.Expires) }
