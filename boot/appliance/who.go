package appliance

import "sync"

// recent remembers a bounded number of values, the oldest goes first. It holds
// what may be forgotten: who has which address, what a DHCP packet said.
type recent[K comparable, V any] struct {
	mu    sync.Mutex
	max   int
	of    map[K]V
	order []K
}

func newRecent[K comparable, V any](max int) *recent[K, V] {
	return &recent[K, V]{max: max, of: map[K]V{}}
}

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.of[k]; !ok {
		if len(r.order) == r.max {
			delete(r.of, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, k)
	}
	r.of[k] = v
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.of[k]
	return v, ok
}
