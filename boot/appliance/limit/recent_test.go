package limit

import (
	"fmt"
	"sync"
	"testing"
)

// New keys do not evict one that was put again, however old it is.
func TestRecent(t *testing.T) {
	r := NewRecent[int, string](3)
	r.Put(0, "honest")
	for i := 1; i <= 100; i++ {
		r.Put(0, "heard again")
		r.Put(i, "stranger")
		if v, ok := r.Get(0); !ok || v != "heard again" {
			t.Fatalf("after %d strangers: %q, %v", i, v, ok)
		}
	}
	for i, want := range map[int]bool{100: true, 99: true, 98: false} {
		t.Run(fmt.Sprint("stranger ", i), func(t *testing.T) {
			if _, ok := r.Get(i); ok != want {
				t.Errorf("is remembered: %v", ok)
			}
		})
	}
	if len(r.byKey) != 3 || r.Len() != 3 {
		t.Errorf("%d and %d of 3 are held", len(r.byKey), r.Len())
	}
}

// A change sees what is remembered, or nothing, and makes it the latest.
func TestRecentUpdate(t *testing.T) {
	r := NewRecent[string, int](2)
	add := func(n int) int { return n + 1 }
	for range 3 {
		r.Update("a", add)
	}
	r.Put("b", 7)
	r.Update("a", add)
	r.Put("c", 9)
	for key, want := range map[string]int{"a": 4, "b": 0, "c": 9} {
		t.Run(key, func(t *testing.T) {
			if got, ok := r.Get(key); got != want || ok != (want != 0) {
				t.Errorf("%d, %v, want %d", got, ok, want)
			}
		})
	}
	if r.Len() != 2 {
		t.Errorf("%d are remembered", r.Len())
	}
}

// Get does not make a value the latest: who only asks keeps nothing alive.
func TestRecentGetKeepsTheOrder(t *testing.T) {
	r := NewRecent[int, bool](2)
	r.Put(1, true)
	r.Put(2, true)
	r.Get(1)
	r.Put(3, true)
	if _, ok := r.Get(1); ok {
		t.Error("what was put longest ago is still there")
	}
}

func TestRecentAtOnce(t *testing.T) {
	r := NewRecent[int, int](10)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				r.Update(0, func(n int) int { return n + 1 })
				if i%100 == 0 {
					r.Put(1+i/100%9, i)
				}
			}
		})
	}
	wg.Wait()
	if n, _ := r.Get(0); n != 8000 || r.Len() != 10 {
		t.Errorf("%d changes, %d keys", n, r.Len())
	}
}
