package storetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// Guard bounds waits for events that must come. It is there so that a test
// that fails does not hang.
const Guard = 60 * time.Second

// A Clock is a store's time.
type Clock interface {
	Now() time.Time
	// Pass lets d go by. What expired is then deleted, and told to watchers.
	Pass(d time.Duration)
}

// A Subject is a kind of store under test.
type Subject struct {
	// Open returns an empty store and its clock. It is closed when the test ends.
	Open func(t *testing.T) (store.Store, Clock)
	// Kill has another process run Interrupted on an empty store, kills it
	// within the function that it passes, and returns the store as it is
	// found. nil for a store that no other process can open.
	Kill func(t *testing.T) store.Store
	// Bubble runs each test in a synctest bubble. A store that waits on
	// files or sockets cannot.
	Bubble bool
}

// Run holds a store to what package store says of it.
func Run(t *testing.T, s Subject) {
	for _, row := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"get and swap", swapAndGet},
		{"create once", createOnce},
		{"delete", deletes},
		{"limits", limits},
		{"a large value", largeValue},
		{"values are copies", copies},
		{"list by prefix", list},
		{"two writers race", race},
		{"context ended", contextEnded},
		{"expiry", expiry},
		{"expiry is told", expiryIsTold},
		{"renewed before expiry", renewed},
		{"watch from a list on", watchOrder},
		{"watch one prefix", watchPrefix},
		{"watch from an old revision", watchGap},
		{"a slow watcher", watchSlow},
		{"watch ends", watchEnds},
		{"closed", closed},
		{"a writer killed between two keys", killed},
		{"two mirrors", twoMirrors},
		{"two mirrors race", mirrorsRace},
	} {
		t.Run(row.name, func(t *testing.T) {
			if s.Bubble {
				synctest.Test(t, func(t *testing.T) { row.test(t, s) })
				return
			}
			row.test(t, s)
		})
	}
}

// Keys that Interrupted writes.
const (
	FirstKey  = "pair/1"
	SecondKey = "pair/2"
)

// Interrupted writes one key, calls between, and writes another. Both belong
// together, as a machine's new address and its old one do.
func Interrupted(t *testing.T, s store.Store, between func()) {
	t.Helper()
	set(t, s, FirstKey, 0, "one")
	between()
	set(t, s, SecondKey, 0, "two")
}

// set writes a key that never expires.
func set(t *testing.T, s store.Store, key string, rev uint64, value string) store.Entry {
	t.Helper()
	e, err := s.Swap(t.Context(), key, rev, []byte(value), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// remove deletes a key.
func remove(t *testing.T, s store.Store, key string, rev uint64) store.Entry {
	t.Helper()
	e, err := s.Swap(t.Context(), key, rev, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// next waits for an event.
func next[T any](t *testing.T, events <-chan T) T {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("there are no more events")
		}
		return e
	case <-time.After(Guard):
		t.Fatal("an event did not come")
	}
	panic("not reached")
}
