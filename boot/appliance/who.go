package appliance

import (
	"container/list"
	"sync"
)

// recent remembers a bounded number of values, and forgets the one that was put
// longest ago. It holds what may be forgotten: who has which address, what a
// DHCP packet said.
type recent[K comparable, V any] struct {
	mu    sync.Mutex
	max   int
	of    map[K]*list.Element
	order *list.List // of pair[K, V], the latest at the back
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](max int) *recent[K, V] {
	return &recent[K, V]{max: max, of: map[K]*list.Element{}, order: list.New()}
}

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.of[k]; ok {
		e.Value = pair[K, V]{k, v}
		r.order.MoveToBack(e)
		return
	}
	if r.order.Len() == r.max {
		delete(r.of, r.order.Remove(r.order.Front()).(pair[K, V]).key)
	}
	r.of[k] = r.order.PushBack(pair[K, V]{k, v})
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.of[k]; ok {
		return e.Value.(pair[K, V]).value, true
	}
	return v, false
}
