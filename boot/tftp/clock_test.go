package tftp

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever is set, put off, brought forward and unset, each transfer is due
// once, at its time, and not before.
func TestClock(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var c clock
	c.init()
	start := time.Now().Add(time.Hour) // the timer does not matter here
	now := start
	all := make([]*transfer, 100)
	due := map[*transfer]time.Time{}
	for i := range all {
		all[i] = &transfer{slot: -1}
	}
	fired := 0
	for range 20_000 {
		tr := all[r.IntN(len(all))]
		switch r.IntN(4) {
		case 0, 1:
			due[tr] = now.Add(time.Duration(r.IntN(100)) * time.Millisecond)
			c.set(tr, due[tr])
		case 2:
			delete(due, tr)
			c.unset(tr)
		case 3:
			now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			for ; ; fired++ {
				tr := c.next(now)
				if tr == nil {
					break
				}
				at, ok := due[tr]
				if !ok || at.After(now) {
					t.Fatalf("due at %v, now is %v", at.Sub(start), now.Sub(start))
				}
				delete(due, tr)
			}
			for _, at := range due {
				if !at.After(now) {
					t.Fatalf("one is forgotten, %v late", now.Sub(at))
				}
			}
		}
		if len(c.due) != len(due) {
			t.Fatalf("%d in the heap, %d are due", len(c.due), len(due))
		}
		for i, tr := range c.due {
			if tr.slot != i || i > 0 && tr.queued.Before(c.due[(i-1)/2].queued) || tr.queued.After(tr.due) {
				t.Fatal("the heap is out of order")
			}
		}
	}
	if fired < 1000 {
		t.Errorf("only %d were due", fired)
	}
}

// The clock wakes in time for what is far off, for what is too near for the
// poller, for what is due by the time that it was looked at, and for what is
// brought forward while it waits.
func TestClockWakes(t *testing.T) {
	const late = 500 * time.Millisecond // on a busy machine
	var c clock
	c.init()
	wait := func(tr *transfer, d time.Duration) {
		t.Helper()
		start := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			woke := c.wait(ctx)
			cancel()
			if !woke {
				t.Fatalf("%v: the clock sleeps on", d)
			}
			if got := c.next(time.Now()); got != nil {
				if took := time.Since(start); got != tr || took < d-time.Millisecond || took > d+late {
					t.Errorf("%v: took %v", d, took)
				}
				break
			}
		}
		c.next(time.Now()) // as watch does
	}
	for _, d := range []time.Duration{0, time.Nanosecond, time.Microsecond, 100 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 30 * time.Millisecond} {
		for range 10 {
			tr := &transfer{slot: -1}
			c.set(tr, time.Now().Add(d))
			wait(tr, d)
		}
	}
	// Looked at an instant before it is due, and again after.
	for d := time.Duration(1); d < 3000; d++ {
		tr := &transfer{slot: -1}
		now := time.Now()
		c.set(tr, now.Add(d))
		if c.next(now) != nil {
			t.Fatal("too early")
		}
		if c.nap <= 0 {
			t.Fatalf("%v: a nap of %v never ends", d, c.nap)
		}
		c.unset(tr)
		c.next(now)
	}
	// Brought forward.
	far, near := &transfer{slot: -1}, &transfer{slot: -1}
	c.set(far, time.Now().Add(time.Minute))
	c.next(time.Now())
	c.set(near, time.Now().Add(50*time.Millisecond))
	wait(near, 50*time.Millisecond)
	// Its end ends the wait.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if c.wait(ctx) {
		t.Error("woke although the context has ended")
	}
}
