package tftp

import (
	"container/heap"
	"context"
	"time"
)

// A clock knows which transfer is due next. A transfer that is put off stays
// where it was until its old time has come: each ACK puts one off.
type clock struct {
	epoch time.Time
	due   dues
	timer *time.Timer
	wakes time.Time     // when the timer fires
	nap   time.Duration // to be slept instead, or 0
}

// coarse is what a poller's milliseconds are too coarse for.
const coarse = 2 * time.Millisecond

// tick is RFC 6298's G: timeouts are rounded up to multiples of it, so that
// hundreds of transfers wake the clock hundreds of times a second, not thousands.
const tick = 4 * time.Millisecond

func (c *clock) init() { c.epoch, c.timer = time.Now(), time.NewTimer(time.Hour) }

// timeout has t be due when d has passed since now, or up to a tick later.
func (c *clock) timeout(t *transfer, now time.Time, d time.Duration) {
	d += now.Sub(c.epoch) + tick - 1
	c.set(t, c.epoch.Add(d.Truncate(tick)))
}

// set has t be due then, and not before.
func (c *clock) set(t *transfer, then time.Time) {
	t.due = then
	switch {
	case t.slot < 0:
		t.queued = then
		heap.Push(&c.due, t)
	case then.Before(t.queued):
		t.queued = then
		heap.Fix(&c.due, t.slot)
	default:
		return
	}
	if then.Before(c.wakes) || c.wakes.IsZero() {
		c.wakes = then
		c.timer.Reset(time.Until(then))
	}
}

// unset has t never be due.
func (c *clock) unset(t *transfer) {
	t.due = time.Time{}
	if t.slot >= 0 {
		heap.Remove(&c.due, t.slot)
	}
}

// next returns a transfer that is due and is no more, or nil: then it is known
// how long there is to wait.
func (c *clock) next(now time.Time) *transfer {
	for len(c.due) > 0 {
		t := c.due[0]
		switch {
		case t.queued.After(now):
			c.wakes, c.nap = t.queued, max(time.Until(t.queued), 1)
			if c.nap > coarse {
				c.nap = 0
				c.timer.Reset(time.Until(t.queued))
			}
			return nil
		case t.due.After(now):
			t.queued = t.due
			heap.Fix(&c.due, 0)
		default:
			heap.Pop(&c.due)
			return t
		}
	}
	c.wakes, c.nap = time.Time{}, 0
	return nil
}

// wait returns when a transfer may be due, or false when ctx has ended.
func (c *clock) wait(ctx context.Context) bool {
	if c.nap != 0 {
		nap(c.nap)
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

// dues is a heap of transfers by the time they are queued for.
type dues []*transfer

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].queued.Before(d[j].queued) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].slot, d[j].slot = i, j
}

func (d *dues) Push(x any) {
	t := x.(*transfer)
	t.slot = len(*d)
	*d = append(*d, t)
}

func (d *dues) Pop() any {
	n := len(*d) - 1
	t := (*d)[n]
	(*d)[n] = nil
	*d, t.slot = (*d)[:n], -1
	return t
}
