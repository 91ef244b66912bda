package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

var errClosed = errors.New("store is closed")

// A watcher holds what its reader has not taken yet: one entry a key, so that
// a slow reader costs memory by the number of keys and never by that of changes.
type watcher struct {
	prefix string
	end    context.CancelFunc
	wake   chan struct{} // holds one

	mu      sync.Mutex
	pending []Entry // in the order of revisions
}

func (s *boltStore) Watch(ctx context.Context, prefix string) (<-chan Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{prefix: prefix, end: cancel, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, fmt.Errorf("watch %s: %w", prefix, errClosed)
	}
	s.watchers[w] = struct{}{}
	out := make(chan Entry)
	s.running.Go(func() {
		defer close(out)
		w.run(ctx, out)
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
		cancel()
	})
	return out, nil
}

// publish tells the watchers of a change. The caller holds s.mu.
func (s *boltStore) publish(e Entry) {
	for w := range s.watchers {
		if strings.HasPrefix(e.Key, w.prefix) {
			w.add(e)
		}
	}
}

func (w *watcher) add(e Entry) {
	w.mu.Lock()
	if i := slices.IndexFunc(w.pending, func(p Entry) bool { return p.Key == e.Key }); i >= 0 {
		w.pending = slices.Delete(w.pending, i, i+1)
	}
	w.pending = append(w.pending, e)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (Entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return Entry{}, false
	}
	e := w.pending[0]
	w.pending = slices.Delete(w.pending, 0, 1)
	return e, true
}

func (w *watcher) run(ctx context.Context, out chan<- Entry) {
	for {
		for e, ok := w.take(); ok; e, ok = w.take() {
			e.Value = slices.Clone(e.Value) // each watcher gets its own
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}
