//go:build linux

package main

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// options say what the load generator does.
type options struct {
	server     netip.AddrPort
	name       string // of the file
	want       []byte // what it holds
	clients    int
	threads    int
	blksize    int
	windowsize int
	loss       float64       // share of the packets dropped, of those sent and of those received
	delay      time.Duration // of every ACK
	timeout    time.Duration // of a client
	tries      int           // timeouts in a row until a client gives up
	patience   time.Duration // until all clients give up
	spread     time.Duration // the clients begin over this time, not all at once
	seed       uint64        // of the losses

	halfOpen int           // strangers, see flood
	from     netip.Prefix  // their addresses; invalid: the one that all clients have
	over     time.Duration // they come spread over this time
}

// A result is what became of a load.
type result struct {
	Clients    int
	Bytes      int64          // of whole files that came
	Seconds    float64        // until the last client was served or gave up; with strangers: the slowest honest client
	Failed     map[string]int `json:",omitempty"` // clients, by reason
	Corrupt    int            `json:",omitempty"` // of those, whose content was wrong
	Repeats    int            // timeouts of clients that did not give up
	Blksize    int            // as granted to the last client
	Windowsize int
	CPU        float64 // seconds, of the generator
	Strangers  int     `json:",omitempty"` // that were answered at all
	Answers    int     `json:",omitempty"` // packets to the stranger that got most
}

// add counts a client that is over, of a file of so many bytes.
func (r *result) add(c *client, file int64) {
	r.Clients++
	r.Repeats += c.repeats
	r.Blksize, r.Windowsize = c.Blksize, c.Windowsize
	if c.Failed == "" {
		r.Bytes += file
		return
	}
	if r.Failed == nil {
		r.Failed = map[string]int{}
	}
	r.Failed[c.Failed]++
	if c.Corrupt {
		r.Corrupt++
	}
}

// generate makes the load. Its error is one of the machine's. What a server did
// wrong stands in the result.
func generate(ctx context.Context, o *options) (result, error) {
	cpu := ownCPU()
	var r result
	var err error
	switch {
	case o.halfOpen > 0:
		r, err = flood(ctx, o)
	case o.clients == 1 && o.loss == 0 && o.delay == 0:
		r, err = single(ctx, o)
	default:
		r, err = many(ctx, o)
	}
	r.CPU = ownCPU() - cpu
	return r, err
}

func ownCPU() float64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// single is one client, on a thread of its own with a socket that blocks. In
// lockstep it makes two system calls a block, as a plain client does.
func single(ctx context.Context, o *options) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var r result
	c, err := newClient(o, 0)
	if err != nil {
		return r, err
	}
	defer unix.Close(c.fd)
	tv := unix.NsecToTimeval(int64(o.timeout))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return r, err
	}
	b := newBatch(64, conformance.HeaderLen+o.blksize+1)
	start := time.Now()
	c.transmit()
	at := c.Blocks()
	var idle time.Time // since then nothing new came; zero: it did just now
	for !c.Over {
		n, errno := 0, unix.Errno(0)
		if c.known {
			n, errno = b.recv(c.fd, c.Windowsize, 0)
		} else if p, err := c.first(b.bufs[0], 0); p != nil {
			b.msgs[0].n, n = uint32(len(p)), 1
		} else if err != nil && !errors.As(err, &errno) {
			return r, err
		}
		for i := range n {
			if c.packet(b.packet(i)) {
				c.transmit()
			}
		}
		if c.Blocks() != at {
			at, idle = c.Blocks(), time.Time{}
			continue
		}
		// Packets that bring nothing new must not keep it from its timeout.
		switch now := time.Now(); {
		case ctx.Err() != nil:
			c.Fail("was stopped")
		case now.Sub(start) > o.patience:
			c.Fail("ran out of time")
		case errno == unix.EAGAIN || !idle.IsZero() && now.Sub(idle) >= o.timeout:
			idle = now
			if c.timeout(o.tries) {
				c.transmit()
			}
		case idle.IsZero():
			idle = now
		}
	}
	r.add(c, int64(len(o.want)))
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// many is many clients, with a socket each, on few threads.
func many(ctx context.Context, o *options) (result, error) {
	var r result
	workers := make([]*worker, min(o.threads, o.clients))
	for i := range workers {
		w, err := newWorker(ctx, o)
		if err != nil {
			return r, err
		}
		defer w.close()
		workers[i] = w
	}
	for id := range o.clients {
		if err := workers[id%len(workers)].add(id); err != nil {
			return r, err
		}
	}
	start := time.Now()
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = w.run(start) })
	}
	wg.Wait()
	for _, w := range workers {
		for _, c := range w.clients {
			r.add(c, int64(len(o.want)))
		}
		r.Seconds = max(r.Seconds, w.ended.Sub(start).Seconds())
	}
	return r, errors.Join(errs...)
}
