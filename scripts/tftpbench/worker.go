//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// A worker is one thread with its share of the clients.
type worker struct {
	*options
	ctx     context.Context
	epoll   int
	timer   int // fires when the first of held is due
	clients []*client
	left    int // clients that are not over
	ended   time.Time
	batch   *batch
	held    []heldPacket // in the order in which they are due
}

// A heldPacket is sent later.
type heldPacket struct {
	c   *client
	p   []byte
	due time.Time
}

// tick is how often timeouts are looked for.
const tick = 10 * time.Millisecond

func newWorker(ctx context.Context, o *options) (*worker, error) {
	w := &worker{options: o, ctx: ctx, epoll: -1, timer: -1, batch: newBatch(64, conformance.HeaderLen+max(o.blksize, conformance.DefaultBlksize)+1)}
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		w.close()
		return nil, fmt.Errorf("timer: %w", err)
	}
	if err = w.watch(w.timer, -1); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *worker) close() {
	for _, c := range w.clients {
		unix.Close(c.fd)
	}
	unix.Close(w.timer)
	unix.Close(w.epoll)
}

// watch has the index come back from epoll when fd can be read.
func (w *worker) watch(fd, index int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: add: %w", err)
	}
	return nil
}

func (w *worker) add(id int) error {
	c, err := newClient(w.options, id)
	if err != nil {
		return err
	}
	w.clients = append(w.clients, c)
	w.left++
	return w.watch(c.fd, len(w.clients)-1)
}

// run returns when all clients are over. Until then those that are done repeat
// their last ACK on request, RFC 1350 section 6.
func (w *worker) run(start time.Time) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, 256)
	begun, next := 0, start
	for w.left > 0 {
		if begun < len(w.clients) {
			begun = w.begin(begun, start)
		}
		n, err := unix.EpollWait(w.epoll, events, int(tick/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: wait: %w", err)
		}
		now := time.Now()
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd < 0 {
				w.release(now)
			} else if err := w.read(w.clients[ev.Fd], now); err != nil {
				return err
			}
		}
		if now.After(next) {
			next = now.Add(tick)
			w.timeouts(w.clients[:begun], now)
			switch {
			case w.ctx.Err() != nil:
				w.stop(now, "was stopped")
			case now.Sub(start) > w.patience:
				w.stop(now, "ran out of time")
			}
		}
	}
	return nil
}

// read takes what came for one client.
func (w *worker) read(c *client, now time.Time) error {
	n, errno := 0, unix.Errno(0)
	if c.known {
		n, errno = w.batch.recv(c.fd, c.Windowsize, unix.MSG_DONTWAIT)
	} else {
		if w.lost(c) { // before it is looked at: the server's port stays unknown
			unix.Recvfrom(c.fd, w.batch.bufs[0], unix.MSG_DONTWAIT)
			return nil
		}
		p, err := c.first(w.batch.bufs[0], unix.MSG_DONTWAIT)
		if err != nil && !errors.As(err, &errno) {
			return err
		}
		if p != nil {
			w.take(c, p, now)
		}
		return nil
	}
	if errno != 0 {
		return nil // ECONNREFUSED: the server's port is closed; silence will tell
	}
	for i := range n {
		if !w.lost(c) {
			w.take(c, w.batch.packet(i), now)
		}
	}
	return nil
}

func (w *worker) take(c *client, p []byte, now time.Time) {
	before, over := c.Blocks(), c.Over
	if c.packet(p) {
		w.send(c, now)
	} else if c.Blocks() != before {
		c.deadline = now.Add(w.timeout)
	}
	if c.Over && !over {
		w.end(now)
	}
}

func (w *worker) end(now time.Time) {
	w.left--
	w.ended = now
}

// begin sends the requests of clients that are due. It takes the first client
// that has not begun, and returns the next such.
func (w *worker) begin(first int, start time.Time) int {
	now := time.Now()
	due := len(w.clients)
	if part := now.Sub(start); part < w.spread {
		due = max(first, int(int64(due)*int64(part)/int64(w.spread)))
	}
	for _, c := range w.clients[first:due] {
		w.send(c, now)
	}
	return due
}

// stop ends all clients.
func (w *worker) stop(now time.Time, why string) {
	for _, c := range w.clients {
		if !c.Over {
			c.Fail(why)
			w.end(now)
		}
	}
}

// timeouts looks for clients that waited too long.
func (w *worker) timeouts(clients []*client, now time.Time) {
	for _, c := range clients {
		switch {
		case c.Over:
		case now.Before(c.deadline):
		case c.timeout(w.tries):
			w.send(c, now)
		default:
			w.end(now)
		}
	}
}

// lost draws whether the next packet is.
func (w *worker) lost(c *client) bool { return w.loss > 0 && c.random.Float64() < w.loss }

// send sends what c has to say, unless it gets lost. An ACK goes after the delay.
func (w *worker) send(c *client, now time.Time) {
	c.deadline = now.Add(w.timeout)
	switch {
	case w.lost(c):
	case w.delay > 0 && c.known:
		w.held = append(w.held, heldPacket{c, append([]byte(nil), c.Reply...), now.Add(w.delay)})
		if len(w.held) == 1 {
			w.arm(now)
		}
	default:
		c.transmit()
	}
}

// arm sets the timer for the first packet held.
func (w *worker) arm(now time.Time) {
	wait := max(w.held[0].due.Sub(now), 1)
	unix.TimerfdSettime(w.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
}

// release sends the held packets that are due.
func (w *worker) release(now time.Time) {
	unix.Read(w.timer, make([]byte, 8))
	i := 0
	for ; i < len(w.held) && !w.held[i].due.After(now); i++ {
		send(w.held[i].c.fd, w.held[i].p)
	}
	w.held = append(w.held[:0], w.held[i:]...)
	if len(w.held) > 0 {
		w.arm(now)
	}
}
