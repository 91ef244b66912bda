package limit

import (
	"container/list"
	"sync"
)

// Recent is a cache of a bounded number of values. It evicts the value that was
// put longest ago. It holds what may be forgotten: who has which address, what
// a DHCP packet said. It is safe for use by several goroutines.
type Recent[K comparable, V any] struct {
	mu    sync.Mutex
	most  int
	byKey map[K]*list.Element
	order *list.List // a pair[K, V] each, the latest at the back
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// NewRecent returns a cache of at most `most` values.
func NewRecent[K comparable, V any](most int) *Recent[K, V] {
	return &Recent[K, V]{most: most, byKey: map[K]*list.Element{}, order: list.New()}
}

// Put stores v under k, as the latest value.
func (r *Recent[K, V]) Put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(k, v)
}

// putLocked is Put with the lock held.
func (r *Recent[K, V]) putLocked(k K, v V) {
	if e, ok := r.byKey[k]; ok {
		e.Value = entry[K, V]{k, v}
		r.order.MoveToBack(e)
		return
	}
	if r.order.Len() == r.most {
		delete(r.byKey, r.order.Remove(r.order.Front()).(entry[K, V]).key)
	}
	r.byKey[k] = r.order.PushBack(entry[K, V]{k, v})
}

// Get returns the value under k, and whether there is one.
func (r *Recent[K, V]) Get(k K) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[k]; ok {
		return e.Value.(entry[K, V]).value, true
	}
	return v, false
}

// Update changes the value under k and makes it the latest. change gets the
// zero V where there is none. It must not call r.
func (r *Recent[K, V]) Update(k K, change func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v V
	if e, ok := r.byKey[k]; ok {
		v = e.Value.(entry[K, V]).value
	}
	r.putLocked(k, change(v))
}

// Len returns the number of values.
func (r *Recent[K, V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order.Len()
}
