package tftp

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// newTimer is a transfer that is in no heap.
func newTimer() *transfer { return &transfer{timer: timer{slot: -1}} }

// Deadlines are set, moved and stopped at random. Each transfer is due once, at
// its time, and not before.
func TestTimers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var c timers
	c.init(time.Sleep)
	start := time.Now().Add(time.Hour) // the timer does not matter here
	now := start
	all := make([]*transfer, 100)
	due := map[*transfer]time.Time{}
	for i := range all {
		all[i] = newTimer()
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
			c.stop(tr)
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
		if len(c.heap) != len(due) {
			t.Fatalf("%d in the heap, %d are due", len(c.heap), len(due))
		}
		for i, tr := range c.heap {
			if tr.timer.slot != i || i > 0 && tr.timer.queued.Before(c.heap[(i-1)/2].timer.queued) || tr.timer.queued.After(tr.timer.due) {
				t.Fatal("the heap is out of order")
			}
		}
	}
	if fired < 1000 {
		t.Errorf("only %d were due", fired)
	}
}

// The timers wake in time. A deadline may be far off, too near for the poller,
// past by the time that it is looked at, or moved forward during the wait.
func TestTimersWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c timers
		c.init(time.Sleep)
		wait := func(tr *transfer, d time.Duration) {
			t.Helper()
			start := time.Now()
			for {
				if !c.wait(t.Context()) {
					t.Fatalf("%v: the timers sleep on", d)
				}
				if got := c.next(time.Now()); got != nil {
					if took := time.Since(start); got != tr || took != d {
						t.Errorf("%v: took %v", d, took)
					}
					break
				}
			}
			c.next(time.Now()) // as runTimers does
		}
		for _, d := range []time.Duration{0, time.Nanosecond, time.Microsecond, 100 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 30 * time.Millisecond} {
			for range 10 {
				tr := newTimer()
				c.set(tr, time.Now().Add(d))
				wait(tr, d)
			}
		}
		// Looked at an instant before it is due, and again after.
		for d := time.Duration(1); d < 3000; d++ {
			tr := newTimer()
			now := time.Now()
			c.set(tr, now.Add(d))
			if c.next(now) != nil {
				t.Fatal("too early")
			}
			if c.short <= 0 {
				t.Fatalf("%v: a sleep of %v never ends", d, c.short)
			}
			c.stop(tr)
			c.next(now)
		}
		// Brought forward.
		far, near := newTimer(), newTimer()
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
	})
}

// The kernel's sleep waits no less than it should.
func TestSleepExactly(t *testing.T) {
	for _, d := range []time.Duration{time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		if sleepExactly(d); time.Since(start) < d {
			t.Errorf("%v: slept for %v", d, time.Since(start))
		}
	}
}
