package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func openTest(t *testing.T) (*boltStore, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := open(path, DefaultTiming)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, path
}

func TestSwapAndGet(t *testing.T) {
	s, path := openTest(t)
	ctx := t.Context()
	if _, err := s.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	a, err := s.Swap(ctx, "a", 0, []byte("one"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(ctx, "a", 0, []byte("two"), time.Time{}); !errors.Is(err, ErrConflict) {
		t.Errorf("swap over an entry that should not be: %v", err)
	}
	b, err := s.Swap(ctx, "b", 0, []byte{}, time.Time{})
	if err != nil || b.Rev <= a.Rev {
		t.Errorf("rev %d after %d, %v", b.Rev, a.Rev, err)
	}
	a2, err := s.Swap(ctx, "a", a.Rev, []byte("two"), time.Time{})
	if err != nil || a2.Rev <= b.Rev {
		t.Errorf("rev %d after %d, %v", a2.Rev, b.Rev, err)
	}
	if _, err := s.Swap(ctx, "a", a.Rev, nil, time.Time{}); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of an old revision: %v", err)
	}
	if _, err := s.Swap(ctx, "b", b.Rev, nil, time.Time{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Get(ctx, "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of a deleted key: %v", err)
	}

	// What was written stays, and revisions go on where they were.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(path, DefaultTiming); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if e, err := s.Get(ctx, "a"); err != nil || string(e.Value) != "two" || e.Rev != a2.Rev {
		t.Errorf("after reopening: %+v, %v", e, err)
	}
	if e, err := s.Swap(ctx, "b", 0, []byte("again"), time.Time{}); err != nil || e.Rev <= a2.Rev+1 {
		t.Errorf("rev %d after the delete's %d, %v", e.Rev, a2.Rev+1, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestList(t *testing.T) {
	s, _ := openTest(t)
	for _, k := range []string{"lease/2", "lease/1", "job/1", "lease", "leasf"} {
		if _, err := s.Swap(t.Context(), k, 0, []byte(k), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List(t.Context(), "lease/")
	if err != nil || len(list) != 2 || list[0].Key != "lease/1" || string(list[1].Value) != "lease/2" {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestLimitsAndContext(t *testing.T) {
	s, _ := openTest(t)
	if _, err := s.Swap(t.Context(), strings.Repeat("k", MaxKey+1), 0, []byte("v"), time.Time{}); err == nil {
		t.Error("a long key was taken")
	}
	if _, err := s.Swap(t.Context(), "k", 0, make([]byte, MaxValue+1), time.Time{}); err == nil {
		t.Error("a large value was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Swap(ctx, "k", 0, []byte("v"), time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("swap with an ended context: %v", err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("something was written: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	synctest.Test(t, func(t *testing.T) {
		s, err := open(path, Timing{Lock: time.Second, Sweep: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx := t.Context()
		seen, err := s.Watch(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Swap(ctx, "a", 0, []byte("x"), time.Now().Add(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		s.Swap(ctx, "b", 0, []byte("x"), time.Time{})
		<-seen
		<-seen
		time.Sleep(9 * time.Second)
		if _, err := s.Get(ctx, "a"); err != nil {
			t.Errorf("gone too early: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := s.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("read after it expired: %v", err)
		}
		if list, _ := s.List(ctx, ""); len(list) != 1 {
			t.Errorf("listed after it expired: %v", list)
		}
		if _, err := s.Swap(ctx, "a", e.Rev, []byte("y"), time.Time{}); !errors.Is(err, ErrConflict) {
			t.Errorf("swap of an expired revision: %v", err)
		}
		if got := <-seen; got.Key != "a" || got.Value != nil || got.Rev <= e.Rev {
			t.Errorf("the sweeper told watchers of %+v", got)
		}
		if _, err := s.Swap(ctx, "a", 0, []byte("y"), time.Time{}); err != nil {
			t.Errorf("a new entry after expiry: %v", err)
		}
	})
}

func TestWatch(t *testing.T) {
	s, _ := openTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	leases, err := s.Watch(ctx, "lease/")
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads yet: a thousand changes of one key are kept as the last.
	var rev uint64
	for i := range 200 {
		e, err := s.Swap(ctx, "lease/1", rev, fmt.Append(nil, i), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		rev = e.Rev
	}
	s.Swap(ctx, "job/1", 0, []byte("x"), time.Time{})
	last, _ := s.Swap(ctx, "lease/2", 0, []byte("y"), time.Time{})
	var got []Entry
	for e := range leases {
		if got = append(got, e); e.Rev == last.Rev {
			break
		}
	}
	// The first change may have been on its way before the others came.
	if len(got) < 2 || len(got) > 3 || got[len(got)-2].Rev != rev || string(got[len(got)-2].Value) != "199" {
		t.Errorf("watched %v", got)
	}
	cancel()
	for range leases {
	}

	open, _ := s.Watch(t.Context(), "")
	s.Close()
	if _, ok := <-open; ok {
		t.Error("a watch outlived its store")
	}
	if _, err := s.Watch(t.Context(), ""); err == nil {
		t.Error("watch of a closed store")
	}
}

func TestSwapIsAtomic(t *testing.T) {
	s, _ := openTest(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for done := 0; done < 5; {
				e, err := s.Get(t.Context(), "n")
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = s.Swap(t.Context(), "n", e.Rev, append(e.Value, 'x'), time.Time{})
				if err == nil {
					done++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if e, err := s.Get(t.Context(), "n"); err != nil || len(e.Value) != 20 {
		t.Errorf("20 appends made %q, %v", e.Value, err)
	}
}

func TestLockedFileSaysSoSoon(t *testing.T) {
	_, path := openTest(t)
	start := time.Now()
	_, err := Open(path)
	if err == nil || !strings.Contains(err.Error(), "another instance") || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}
