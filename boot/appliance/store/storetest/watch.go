package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// A watcher is a Watch that runs.
type watcher struct {
	entries chan store.Entry // as many as the tests make
	ended   chan error
	end     context.CancelFunc
}

// watch begins to watch. It ends with the test.
func watch(t *testing.T, s store.Store, prefix string, after uint64) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{entries: make(chan store.Entry, 10000), ended: make(chan error, 1), end: cancel}
	go func() { w.ended <- s.Watch(ctx, prefix, after, func(e store.Entry) { w.entries <- e }) }()
	t.Cleanup(cancel)
	return w
}

func expiry(t *testing.T, sub Subject) {
	s, clock := sub.Open(t)
	until := clock.Now().Add(10 * time.Second)
	e, err := s.Swap(t.Context(), "a", 0, []byte("x"), until)
	if err != nil || e.Expires.Before(until) || e.Expires.Sub(until) >= time.Second {
		t.Fatalf("expires %v, want %v rounded up; %v", e.Expires, until, err)
	}
	set(t, s, "b", 0, "x")
	if e, err := s.Get(t.Context(), "a"); err != nil || e.Expires.Before(until) {
		t.Errorf("before its time: %+v, %v", e, err)
	}
	clock.Pass(9 * time.Second)
	if _, err := s.Get(t.Context(), "a"); err != nil {
		t.Errorf("gone too early: %v", err)
	}
	clock.Pass(2 * time.Second) // it is kept to the second, rounded up
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read after it expired: %v", err)
	}
	if list, _, _ := s.List(t.Context(), ""); len(list) != 1 || list[0].Key != "b" {
		t.Errorf("listed after it expired: %v", list)
	}
	if _, err := s.Swap(t.Context(), "a", e.Rev, []byte("y"), time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap of an expired revision: %v", err)
	}
	if again := set(t, s, "a", 0, "y"); again.Rev <= e.Rev {
		t.Errorf("a new entry after expiry: %+v", again)
	}
}

func expiryIsTold(t *testing.T, sub Subject) {
	s, clock := sub.Open(t)
	w := watch(t, s, "", 0)
	a, err := s.Swap(t.Context(), "a", 0, []byte("x"), clock.Now().Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if e := next(t, w.entries); !e.Expires.Equal(a.Expires) {
		t.Errorf("watched %+v, set %+v", e, a)
	}
	clock.Pass(time.Minute)
	if e := next(t, w.entries); e.Key != "a" || e.Value != nil || e.Rev <= a.Rev {
		t.Errorf("watched %+v when it expired", e)
	}
}

func renewed(t *testing.T, sub Subject) {
	s, clock := sub.Open(t)
	a, err := s.Swap(t.Context(), "a", 0, []byte("x"), clock.Now().Add(10*time.Second))
	if err == nil {
		a, err = s.Swap(t.Context(), "a", a.Rev, []byte("x"), clock.Now().Add(time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Swap(t.Context(), "b", 0, []byte("x"), clock.Now().Add(10*time.Second))
	if err == nil {
		b, err = s.Swap(t.Context(), "b", b.Rev, []byte("x"), time.Time{})
	}
	if err != nil {
		t.Fatal(err)
	}
	clock.Pass(time.Minute)
	for _, want := range []store.Entry{a, b} {
		if e, err := s.Get(t.Context(), want.Key); err != nil || e.Rev != want.Rev || !e.Expires.Equal(want.Expires) {
			t.Errorf("%+v, %v, want %+v", e, err, want)
		}
	}
}

func watchOrder(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	set(t, s, "a", 0, "before")
	_, rev, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	// Some changes are made before anybody watches, and some after.
	var want []store.Entry
	last := map[string]uint64{}
	change := func() {
		for i := range 50 {
			key := fmt.Sprint("k", i%3)
			e := set(t, s, key, last[key], fmt.Sprint(len(want)))
			last[key] = e.Rev
			want = append(want, e)
		}
		want = append(want, remove(t, s, "k1", last["k1"]))
		delete(last, "k1")
	}
	change()
	w := watch(t, s, "", rev)
	change()
	for i, e := range want {
		if got := next(t, w.entries); got.Key != e.Key || got.Rev != e.Rev || string(got.Value) != string(e.Value) || (got.Value == nil) != (e.Value == nil) {
			t.Fatalf("change %d is watched as %+v, want %+v", i, got, e)
		}
	}
}

func watchPrefix(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	w := watch(t, s, "lease/", 0)
	set(t, s, "job/1", 0, "x")
	set(t, s, "lease", 0, "x")
	set(t, s, "lease6/1", 0, "x")
	e := set(t, s, "lease/1", 0, "x")
	if got := next(t, w.entries); got.Rev != e.Rev {
		t.Errorf("watched %+v", got)
	}
}

// many is more changes than a store needs to remember.
const many = 2000

// watchGap asks for more than a store may remember. It then tells all of it, or
// ErrGap, but never a part.
func watchGap(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	first := set(t, s, "a", 0, "x")
	e := first
	for range many {
		e = set(t, s, "a", e.Rev, "x")
	}
	w := watch(t, s, "", first.Rev)
	select {
	case err := <-w.ended:
		if !errors.Is(err, store.ErrGap) || len(w.entries) != 0 {
			t.Errorf("watch of what is not known any more: %d entries, %v", len(w.entries), err)
		}
	case got := <-w.entries:
		for i := 1; i < many; i++ {
			got = next(t, w.entries)
		}
		if got.Rev != e.Rev {
			t.Errorf("the last change is %+v, want %+v", got, e)
		}
	case <-time.After(Guard):
		t.Error("a watch across a gap says nothing")
	}
	_, rev, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	w = watch(t, s, "", rev)
	e = set(t, s, "a", e.Rev, "y")
	if got := next(t, w.entries); got.Rev != e.Rev {
		t.Errorf("after a list: %+v, want %+v", got, e)
	}
}

// watchSlow has a watcher that reads nothing while others write. They do not
// wait for it, and it then hears all, or ErrGap after a first part.
func watchSlow(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, reads := make(chan store.Entry, 1), make(chan struct{})
	var got []store.Entry
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, "", 0, func(e store.Entry) {
			if got = append(got, e); len(got) == 1 {
				first <- e
				<-reads
			}
			if len(got) == many {
				cancel()
			}
		})
	}()
	e := set(t, s, "a", 0, "x")
	next(t, first)
	for range many - 1 {
		e = set(t, s, "a", e.Rev, "x")
	}
	close(reads)
	err := next(t, ended)
	if !errors.Is(err, store.ErrGap) && len(got) != many {
		t.Errorf("the watcher heard %d of %d changes, and %v", len(got), many, err)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Rev <= got[i-1].Rev {
			t.Errorf("revision %d after %d", got[i].Rev, got[i-1].Rev)
		}
	}
}

func watchEnds(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	byContext, byClose := watch(t, s, "", 0), watch(t, s, "", 0)
	set(t, s, "a", 0, "x")
	next(t, byContext.entries)
	next(t, byClose.entries)
	byContext.end()
	if err := next(t, byContext.ended); !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended: %v", err)
	}
	s.Close()
	if err := next(t, byClose.ended); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the store was closed: %v", err)
	}
}
