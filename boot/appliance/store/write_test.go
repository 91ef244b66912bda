package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// The watch is behind our own changes: what it tells late changes nothing back.
func TestLateWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		told := make(chan struct{})
		s.event = func(_ store.Entry, tell func()) { <-told; tell() }
		m := numbers(t, s, l)
		for n := range 3 {
			if _, err := m.Update(t.Context(), "x", setTo(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Delete(t.Context(), "x", func(store.Item[int]) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Update(t.Context(), "y", setTo(9)); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if got := all(m); got != "y=9" {
				t.Errorf("after %d late events it holds %s", i, got)
			}
			told <- struct{}{}
			synctest.Wait()
		}
		if err := m.Delete(t.Context(), "x", nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete of nothing: %v", err)
		}
	})
}

// What another holder made, and the watch has not told yet, is found.
func TestUpdateOfWhatIsNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		m := numbers(t, s, l)
		s.event = func(store.Entry, func()) {}
		put(t, s, "n/x", "1")
		put(t, s, "n/y", "1")
		change := func(old store.Item[int], ok bool) (store.Item[int], error) {
			if !ok {
				return old, store.ErrNotFound
			}
			return store.Item[int]{Value: old.Value + 1}, nil
		}
		if item, err := m.Update(t.Context(), "x", change); err != nil || item.Value != 2 {
			t.Errorf("update: %+v, %v", item, err)
		}
		if err := m.Delete(t.Context(), "y", func(store.Item[int]) error { return nil }); err != nil || all(m) != "x=2" {
			t.Errorf("delete: %v; it holds %s", err, all(m))
		}
		if _, err := m.Update(t.Context(), "z", change); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("update of nothing: %v", err)
		}
	})
}

// f is asked again with what another writer made of the value, and may refuse.
func TestUpdateAsksAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		m := numbers(t, s, l)
		s.event = func(store.Entry, func()) {} // nothing is told
		put(t, s, "n/x", "1")
		taken := errors.New("taken")
		_, err := m.Update(t.Context(), "x", func(old store.Item[int], ok bool) (store.Item[int], error) {
			if ok && old.Value == 1 {
				return old, taken
			}
			return store.Item[int]{Value: 2}, nil
		})
		if !errors.Is(err, taken) || all(m) != "x=1" {
			t.Errorf("%v, it holds %s", err, all(m))
		}
		s.swap = func(context.Context) error { return store.ErrConflict }
		if _, err := m.Update(t.Context(), "x", setTo(3)); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a writer who never wins: %v", err)
		}
		if log.Len() > 0 {
			t.Errorf("told:\n%s", log)
		}
	})
}
