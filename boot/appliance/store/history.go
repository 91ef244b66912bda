package store

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
)

// What a History keeps. A watcher that reads is behind by a few changes; one
// that is behind by more reads everything anew, which costs one List.
const (
	historyChanges = 1024
	historyBytes   = 4 << 20 // of keys and values
)

// A History holds a store's latest changes for its watchers. Its memory is
// bounded, however many watchers there are and however slow one is.
type History struct {
	mu      sync.Mutex
	base    uint64        // changes up to this revision are known no more
	changes []Entry       // in the order of revisions
	bytes   int           // of the changes' keys and values
	more    chan struct{} // closed at the next change
	closed  bool
}

// NewHistory begins after a revision.
func NewHistory(rev uint64) *History { return &History{base: rev, more: make(chan struct{})} }

// Add appends a change. Its revision must be higher than the last one's.
func (h *History) Add(e Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.changes = append(h.changes, e)
	h.bytes += size(e)
	for len(h.changes) > historyChanges || h.bytes > historyBytes {
		h.base = h.changes[0].Rev
		h.bytes -= size(h.changes[0])
		h.changes = slices.Delete(h.changes, 0, 1)
	}
	close(h.more)
	h.more = make(chan struct{})
}

func size(e Entry) int { return len(e.Key) + len(e.Value) }

// Close ends every Watch.
func (h *History) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.more)
	}
}

// Watch is the Watch of a Store.
func (h *History) Watch(ctx context.Context, prefix string, after uint64, f func(Entry)) error {
	for {
		changes, more, err := h.since(after)
		if err != nil {
			return err
		}
		for _, e := range changes {
			if after = e.Rev; !strings.HasPrefix(e.Key, prefix) {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e.Value = slices.Clone(e.Value) // each watcher gets its own
			f(e)
		}
		if len(changes) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// since returns the changes after a revision, and what tells of the next one.
func (h *History) since(after uint64) ([]Entry, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, nil, ErrClosed
	case after < h.base:
		return nil, nil, ErrGap
	}
	i := sort.Search(len(h.changes), func(i int) bool { return h.changes[i].Rev > after })
	return slices.Clone(h.changes[i:]), h.more, nil
}
