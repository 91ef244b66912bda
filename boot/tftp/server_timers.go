package tftp

import (
	"container/heap"
	"context"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tick is RFC 6298's G. Timeouts are rounded up to multiples of it, so that
	// hundreds of transfers wake the engine hundreds of times a second, not
	// thousands.
	tick = 4 * time.Millisecond

	// shortWait is what Go's poller, which counts in milliseconds, is too
	// coarse for.
	shortWait = 2 * time.Millisecond
)

// timers is a heap of transfers by deadline. A transfer whose deadline moves
// back stays where it was until the old one has passed, since each ACK moves
// one back.
type timers struct {
	epoch time.Time
	heap  timerHeap
	timer *time.Timer
	fires time.Time           // when timer does; zero: never
	short time.Duration       // to be slept instead of waiting for timer, or 0
	sleep func(time.Duration) // without the poller
}

// A timer is a transfer's place among them.
type timer struct {
	due    time.Time // the deadline; zero: none
	queued time.Time // where it is in the heap: due, or an earlier time
	slot   int       // index there, or -1
}

func (c *timers) init(sleep func(time.Duration)) {
	c.epoch, c.timer, c.sleep = time.Now(), time.NewTimer(time.Hour), sleep
}

// sleepExactly sleeps without the runtime's poller.
func sleepExactly(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&t, nil)
}

// setTimeout has t be due when d has passed since now, or up to a tick later.
func (c *timers) setTimeout(t *transfer, now time.Time, d time.Duration) {
	d += now.Sub(c.epoch) + tick - 1
	c.set(t, c.epoch.Add(d.Truncate(tick)))
}

// set has t be due then.
func (c *timers) set(t *transfer, then time.Time) {
	t.timer.due = then
	switch {
	case t.timer.slot < 0:
		t.timer.queued = then
		heap.Push(&c.heap, t)
	case then.Before(t.timer.queued):
		t.timer.queued = then
		heap.Fix(&c.heap, t.timer.slot)
	default:
		return
	}
	if then.Before(c.fires) || c.fires.IsZero() {
		c.fires = then
		c.timer.Reset(time.Until(then))
	}
}

// stop has t never be due.
func (c *timers) stop(t *transfer) {
	t.timer.due = time.Time{}
	if t.timer.slot >= 0 {
		heap.Remove(&c.heap, t.timer.slot)
	}
}

// next removes and returns a transfer whose deadline has passed. If there is
// none it arms the timer for the earliest one and returns nil.
func (c *timers) next(now time.Time) *transfer {
	for len(c.heap) > 0 {
		t := c.heap[0]
		switch {
		case t.timer.queued.After(now):
			left := time.Until(t.timer.queued)
			c.fires, c.short = t.timer.queued, max(left, 1)
			if c.short > shortWait {
				c.short = 0
				c.timer.Reset(left)
			}
			return nil
		case t.timer.due.After(now):
			t.timer.queued = t.timer.due
			heap.Fix(&c.heap, 0)
		default:
			heap.Pop(&c.heap)
			return t
		}
	}
	c.fires, c.short = time.Time{}, 0
	return nil
}

// wait returns when a transfer may be due, or false when ctx has ended.
func (c *timers) wait(ctx context.Context) bool {
	if c.short != 0 {
		c.sleep(c.short)
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		c.timer.Stop()
		return false
	case <-c.timer.C:
		return true
	}
}

// timerHeap is ordered by timer.queued.
type timerHeap []*transfer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].timer.queued.Before(h[j].timer.queued) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer.slot, h[j].timer.slot = i, j
}

// Push is for package heap.
func (h *timerHeap) Push(x any) {
	t := x.(*transfer)
	t.timer.slot = len(*h)
	*h = append(*h, t)
}

// Pop is for package heap.
func (h *timerHeap) Pop() any {
	n := len(*h) - 1
	t := (*h)[n]
	(*h)[n] = nil
	*h, t.timer.slot = (*h)[:n], -1
	return t
}
