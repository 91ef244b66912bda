package limit

import (
	"container/list"
	"sync"
)

// Recent remembers a bounded number of values, and forgets the one that was
// put longest ago. It holds what may be forgotten: who has which address, what
// a DHCP packet said. It is safe for use by several goroutines.
type Recent[K comparable, V any] struct {
	mu    sync.Mutex
	most  int
	byKey map[K]*list.Element
	order *list.List // of pair[K, V], the latest at the back
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// NewRecent remembers as many values as most says.
func NewRecent[K comparable, V any](most int) *Recent[K, V] {
	return &Recent[K, V]{most: most, byKey: map[K]*list.Element{}, order: list.New()}
}

// Put remembers v under k, and that it is the latest.
func (r *Recent[K, V]) Put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(k, v)
}

// put is Put under the lock.
func (r *Recent[K, V]) put(k K, v V) {
	if e, ok := r.byKey[k]; ok {
		e.Value = pair[K, V]{k, v}
		r.order.MoveToBack(e)
		return
	}
	if r.order.Len() == r.most {
		delete(r.byKey, r.order.Remove(r.order.Front()).(pair[K, V]).key)
	}
	r.byKey[k] = r.order.PushBack(pair[K, V]{k, v})
}

// Get returns what was put under k last, and whether it is remembered.
func (r *Recent[K, V]) Get(k K) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[k]; ok {
		return e.Value.(pair[K, V]).value, true
	}
	return v, false
}

// Update changes what is remembered under k, the zero V where nothing is, and
// makes it the latest. change must not call r.
func (r *Recent[K, V]) Update(k K, change func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v V
	if e, ok := r.byKey[k]; ok {
		v = e.Value.(pair[K, V]).value
	}
	r.put(k, change(v))
}

// Len is how many values are remembered.
func (r *Recent[K, V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order.Len()
}
