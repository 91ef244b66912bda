package storetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

func swapAndGet(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	a := set(t, s, "a", 0, "one")
	if a.Key != "a" || string(a.Value) != "one" || a.Rev == 0 || !a.Expires.IsZero() {
		t.Errorf("the new entry is %+v", a)
	}
	b, err := s.Swap(t.Context(), "b", 0, []byte{}, time.Time{})
	if err != nil || b.Rev <= a.Rev || b.Value == nil {
		t.Errorf("an empty value: %+v after revision %d, %v", b, a.Rev, err)
	}
	a2 := set(t, s, "a", a.Rev, "two")
	if a2.Rev <= b.Rev {
		t.Errorf("revision %d after %d", a2.Rev, b.Rev)
	}
	if _, err := s.Swap(t.Context(), "a", a.Rev, []byte("three"), time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap of an old revision: %v", err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "two" || e.Rev != a2.Rev {
		t.Errorf("get: %+v, %v", e, err)
	}
	if e, err := s.Get(t.Context(), "b"); err != nil || e.Value == nil || len(e.Value) != 0 {
		t.Errorf("get of an empty value: %+v, %v", e, err)
	}
}

func createOnce(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	a := set(t, s, "a", 0, "one")
	if _, err := s.Swap(t.Context(), "a", 0, []byte("two"), time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap over an entry that should not be: %v", err)
	}
	if _, err := s.Swap(t.Context(), "b", a.Rev, []byte("two"), time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap of a key that is not there, at a revision: %v", err)
	}
}

func deletes(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	a := set(t, s, "a", 0, "one")
	if _, err := s.Swap(t.Context(), "a", a.Rev+1, nil, time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("delete of another revision: %v", err)
	}
	gone := remove(t, s, "a", a.Rev)
	if gone.Rev <= a.Rev || gone.Value != nil {
		t.Errorf("the deletion is %+v, after revision %d", gone, a.Rev)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of a deleted key: %v", err)
	}
	if _, err := s.Swap(t.Context(), "a", a.Rev, []byte("two"), time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap of a deleted entry: %v", err)
	}
	if again := set(t, s, "a", 0, "again"); again.Rev <= gone.Rev {
		t.Errorf("revision %d after the deletion's %d", again.Rev, gone.Rev)
	}
}

func limits(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	for name, row := range map[string]struct {
		key   string
		value []byte
	}{
		"no key":        {"", []byte("v")},
		"a long key":    {strings.Repeat("k", store.MaxKey+1), []byte("v")},
		"a large value": {"k", make([]byte, store.MaxValue+1)},
	} {
		if _, err := s.Swap(t.Context(), row.key, 0, row.value, time.Time{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if list, _, err := s.List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("%d entries were written, %v", len(list), err)
	}
}

func largeValue(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	key := strings.Repeat("k", store.MaxKey)
	value := bytes.Repeat([]byte{0, 1, 2, 0xff}, store.MaxValue/4)
	a, err := s.Swap(t.Context(), key, 0, value, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(e.Value, value) || e.Rev != a.Rev {
		t.Errorf("%d bytes at revision %d, %v", len(e.Value), e.Rev, err)
	}
	// Several of them go through a watch as well.
	_, rev, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, s, "", rev)
	for i := range 3 {
		a, err = s.Swap(t.Context(), key, a.Rev, value[:store.MaxValue-i], time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if e := next(t, w.entries); e.Rev != a.Rev || len(e.Value) != store.MaxValue-i {
			t.Errorf("watched %d bytes at revision %d, want %d at %d", len(e.Value), e.Rev, store.MaxValue-i, a.Rev)
		}
	}
}

func copies(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	w := watch(t, s, "", 0)
	value := []byte("one")
	a, err := s.Swap(t.Context(), "a", 0, value, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	value[0], a.Value[1] = 'X', 'X'
	e, _ := s.Get(t.Context(), "a")
	list, _, _ := s.List(t.Context(), "")
	if len(list) != 1 || string(list[0].Value) != "one" || string(e.Value) != "one" {
		t.Fatalf("after a caller changed its bytes: %q, %v", e.Value, list)
	}
	e.Value[0], list[0].Value[1] = 'X', 'X'
	watched := next(t, w.entries)
	if string(watched.Value) != "one" {
		t.Errorf("watched %q", watched.Value)
	}
	watched.Value[2] = 'X'
	if e, _ := s.Get(t.Context(), "a"); string(e.Value) != "one" {
		t.Errorf("after callers changed their copies: %q", e.Value)
	}
}

func list(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	var last store.Entry
	for _, key := range []string{"lease/2", "lease/10", "job/1", "lease", "leasf", "lease/1"} {
		last = set(t, s, key, 0, key)
	}
	for prefix, want := range map[string]string{
		"lease/": "lease/1 lease/10 lease/2",
		"lease":  "lease lease/1 lease/10 lease/2",
		"x":      "",
		"":       "job/1 lease lease/1 lease/10 lease/2 leasf",
	} {
		entries, rev, err := s.List(t.Context(), prefix)
		var keys []string
		for _, e := range entries {
			if keys = append(keys, e.Key); string(e.Value) != e.Key {
				t.Errorf("%s has %q", e.Key, e.Value)
			}
		}
		if got := strings.Join(keys, " "); err != nil || got != want || rev != last.Rev {
			t.Errorf("list of %q: %s at %d, %v; want %s at %d", prefix, got, rev, err, want, last.Rev)
		}
	}
}

// race has writers append to one value. None of their changes may be lost.
func race(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	const writers, each = 4, 5
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				e, err := s.Get(t.Context(), "n")
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = s.Swap(t.Context(), "n", e.Rev, append(e.Value, 'x'), time.Time{})
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if e, err := s.Get(t.Context(), "n"); err != nil || len(e.Value) != writers*each {
		t.Errorf("%d appends made %q, %v", writers*each, e.Value, err)
	}
}

func contextEnded(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	why := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	set(t, s, "a", 0, "one")
	_, getErr := s.Get(ctx, "a")
	_, swapErr := s.Swap(ctx, "b", 0, []byte("v"), time.Time{})
	_, _, listErr := s.List(ctx, "")
	watchErr := s.Watch(ctx, "", 0, func(store.Entry) {})
	for call, err := range map[string]error{"get": getErr, "swap": swapErr, "list": listErr, "watch": watchErr} {
		if !errors.Is(err, why) {
			t.Errorf("%s under a context that ended: %v", call, err)
		}
	}
	if _, err := s.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("something was written: %v", err)
	}
}

func closed(t *testing.T, sub Subject) {
	s, _ := sub.Open(t)
	set(t, s, "a", 0, "one")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(t.Context(), "a")
	_, swapErr := s.Swap(t.Context(), "b", 0, []byte("v"), time.Time{})
	_, _, listErr := s.List(t.Context(), "")
	watchErr := s.Watch(t.Context(), "", 0, func(store.Entry) {})
	for call, err := range map[string]error{"get": getErr, "swap": swapErr, "list": listErr, "watch": watchErr} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s of a closed store: %v", call, err)
		}
	}
}

// killed holds that a writer who dies between two keys leaves the first whole,
// and a store that goes on.
func killed(t *testing.T, sub Subject) {
	var s store.Store
	if sub.Kill != nil {
		s = sub.Kill(t)
	} else {
		s, _ = sub.Open(t)
		set(t, s, FirstKey, 0, "one") // and no more
	}
	entries, rev, err := s.List(t.Context(), "pair/")
	if err != nil || len(entries) != 1 || entries[0].Key != FirstKey || string(entries[0].Value) != "one" {
		t.Fatalf("after the writer died: %v, %v", entries, err)
	}
	w := watch(t, s, "", rev)
	second := set(t, s, SecondKey, 0, "two")
	if e := next(t, w.entries); second.Rev <= rev || e.Rev != second.Rev {
		t.Errorf("revision %d after %d, watched %d", second.Rev, rev, e.Rev)
	}
	if first := set(t, s, FirstKey, entries[0].Rev, "three"); first.Rev <= second.Rev {
		t.Errorf("revision %d after %d", first.Rev, second.Rev)
	}
}
