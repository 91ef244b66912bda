package storetest

import (
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// A change is what a Mirror told.
type change struct {
	name string
	n    int
	ok   bool
}

// mirror opens one of numbers. What it is told comes from the channel.
func mirror(t *testing.T, s store.Store) (*store.Mirror[int], <-chan change) {
	t.Helper()
	changes := make(chan change, 10000)
	m, err := store.NewMirror(t.Context(), s, store.Kind[int]{
		Prefix:  "n/",
		Changed: func(name string, now store.Item[int], ok bool) { changes <- change{name, now.Value, ok} },
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m, changes
}

// add counts one number up.
func add(old store.Item[int], _ bool) (store.Item[int], error) {
	return store.Item[int]{Value: old.Value + 1}, nil
}

// twoMirrors of one store see what the other changes.
func twoMirrors(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	a, toA := mirror(t, s)
	b, toB := mirror(t, s)
	if _, err := a.Update(t.Context(), "x", add); err != nil {
		t.Fatal(err)
	}
	if c := next(t, toB); c != (change{"x", 1, true}) {
		t.Errorf("b hears of %+v", c)
	}
	if item, err := b.Get("x"); err != nil || item.Value != 1 {
		t.Errorf("b has %+v, %v", item, err)
	}
	next(t, toA)
	if _, err := b.Update(t.Context(), "x", add); err != nil {
		t.Fatal(err)
	}
	if c := next(t, toA); c != (change{"x", 2, true}) {
		t.Errorf("a hears of %+v", c)
	}
	if err := a.Delete(t.Context(), "x", func(store.Item[int]) error { return nil }); err != nil {
		t.Fatal(err)
	}
	next(t, toB) // of its own change
	if c := next(t, toB); c != (change{"x", 0, false}) {
		t.Errorf("b hears of %+v", c)
	}
	if item, err := b.Get("x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("b has %+v, %v", item, err)
	}
}

// mirrorsRace has two Mirrors change one value at once. No change is lost, and
// both agree in the end.
func mirrorsRace(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	const each = 20
	a, toA := mirror(t, s)
	b, toB := mirror(t, s)
	var all sync.WaitGroup
	for _, m := range []*store.Mirror[int]{a, b} {
		all.Go(func() {
			for range each {
				_, err := m.Update(t.Context(), "x", add)
				for errors.Is(err, store.ErrConflict) {
					_, err = m.Update(t.Context(), "x", add)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for name, told := range map[string]<-chan change{"a": toA, "b": toB} {
		last := 0
		for last < 2*each {
			c := next(t, told)
			if c.n <= last {
				t.Fatalf("%s hears of %d after %d", name, c.n, last)
			}
			last = c.n
		}
	}
	for name, m := range map[string]*store.Mirror[int]{"a": a, "b": b} {
		if item, err := m.Get("x"); err != nil || item.Value != 2*each {
			t.Errorf("%s has %+v, %v", name, item, err)
		}
	}
}
