package tftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	inboxLen  = 256 << 10 // bytes of datagrams that one system call may bring
	mergedLen = 64 << 10  // and of those that the kernel merged into one
	queueMost = 4 << 20   // that the kernel is asked to keep for us: a window, if it is not larger

	gatherLen = 64 << 10 // bytes of blocks that are written at once
	gatherMax = 2 * gatherLen
	gatherFor = 50 * time.Millisecond // a block that has waited so long is written when the next comes, or none does

	// yieldEvery is how often a transfer goes through Go's scheduler. A goroutine
	// that was not scheduled for 10 ms loses its processor in its next system
	// call, each time that sysmon looks, which then is every 20 µs: with Go 1.26
	// that took a quarter of the speed of lockstep.
	yieldEvery = 2 * time.Millisecond
)

// A receiver is one download. It acknowledges the last block of each window
// and, once for a gap, the last block before it (RFC 7440 section 4).
type receiver struct {
	Transfer
	in       *inbox
	asked    Options
	w        io.Writer
	announce func(int64) error
	timing   Timing
	rto      *rto

	cancelled atomic.Bool

	out     []byte // an ACK
	start   time.Time
	now     time.Duration // since then, when the packets at hand were read
	sent    time.Duration // and the request or the last ACK was sent
	clean   bool          // that was once, and no answer came yet
	last    uint16        // last block that came in order, or 0
	count   int           // blocks since the last ACK
	gap     bool          // a gap was acknowledged, and not yet filled
	started bool          // DATA came
	wrap    wrap          // what follows block 65535
	done    bool          // the file is whole

	held  []byte        // blocks that came in order and w has not
	since time.Duration // when the first of them came
}

// A wrap is the number of the block after 65535. RFC 1350 has none; most
// senders go on with 0, some with 1.
type wrap uint8

const (
	wrapUnknown wrap = iota
	wrapTo0
	wrapTo1
)

// run returns nil when the whole file was written and acknowledged. It begins
// with what the server answered.
func (r *receiver) run(ctx context.Context, answer []byte) error {
	if err := r.begin(answer); err != nil || r.done {
		return err
	}
	yielded, until := r.now, r.now+r.wait()
	for resends := 0; ; {
		r.in.patience(until - r.now)
		n, _ := r.in.read() // an error is of an earlier packet; silence ends the transfer
		r.now = time.Since(r.start)
		if r.now-yielded >= yieldEvery {
			runtime.Gosched()
			yielded = r.now
		}
		if r.cancelled.Load() {
			return context.Cause(ctx)
		}
		progress := false
		for i := range n {
			p, err := r.datagram(i)
			if err != nil || r.done {
				return err
			}
			progress = progress || p
		}
		late := !progress && r.now >= until
		if len(r.held) > 0 && (late || r.now-r.since >= gatherFor) {
			if err := r.flush(); err != nil {
				return err
			}
		}
		switch {
		case progress:
			if resends == 0 {
				r.rto.ease()
			}
			resends = 0
			until = r.now + r.wait()
		case late:
			if resends++; resends > r.timing.Retries {
				return fmt.Errorf("%w: %d bytes came, then nothing: %w", errSilent, r.Bytes, os.ErrDeadlineExceeded)
			}
			r.rto.backoff()
			r.Resent++
			r.ack()
			r.gap, r.clean = false, false // another gap may open
			until = r.now + r.wait()
		}
	}
}

// wait is twice the sender's, see Timing.
func (r *receiver) wait() time.Duration { return min(2*r.rto.wait(), r.timing.Max) }

// ack acknowledges all that came in order, and begins a window.
func (r *receiver) ack() {
	r.out = appendACK(r.out[:0], r.last)
	r.in.send(r.out)
	r.sent = r.now
	r.clean, r.count = true, 0
}

// answered takes the round trip of the packet sent last.
func (r *receiver) answered() {
	if r.clean {
		r.rto.sample(r.now - r.sent)
	}
	r.clean = false
}

// datagram takes one. It may be several that the kernel merged.
func (r *receiver) datagram(i int) (progress bool, err error) {
	p, size := r.in.datagram(i)
	for len(p) > 0 && err == nil && !r.done {
		n, more := min(size, len(p)), false
		more, err = r.packet(p[:n])
		progress = progress || more
		p = p[n:]
	}
	return progress, err
}

// packet takes one packet of the server's.
func (r *receiver) packet(p []byte) (progress bool, err error) {
	switch opcode(p) {
	case opOACK:
		if !r.started && r.asked != (Options{}) {
			r.ack() // the last one was lost
			r.clean = false
		}
	case opDATA:
		return r.data(p)
	case opERROR:
		return false, peerError{parseError(p)}
	}
	return false, nil
}

// begin takes the server's answer to the request: an OACK or the first block.
func (r *receiver) begin(p []byte) error {
	o, err := Options{}, error(nil)
	if opcode(p) == opOACK {
		if o, err = parseOACK(p); err == nil {
			err = o.within(r.asked)
		}
		if err != nil {
			return refusal{&Error{CodeOptions, "options were not asked for"}, err}
		}
		r.Blksize = cmp.Or(o.Blksize, r.Blksize)
		r.Windowsize = max(o.Windowsize, 1)
		if o.TSize {
			r.Size = o.Size
		}
	}
	if r.announce != nil {
		if err := r.announce(r.Size); err != nil {
			return err
		}
	}
	if opcode(p) != opOACK {
		_, err := r.packet(p)
		return err
	}
	if r.Windowsize > 1 {
		r.in.widen(r.Windowsize, headerLen+r.Blksize)
	}
	r.answered()
	r.ack()
	return nil
}

func (r *receiver) data(p []byte) (progress bool, err error) {
	block, data, ok := parseBlock(p)
	if !ok {
		return false, nil
	}
	if len(data) > r.Blksize {
		return false, refusal{errIllegal, fmt.Errorf("block of more than %d bytes", r.Blksize)}
	}
	switch ahead := r.ahead(block); {
	case ahead == 0 && r.started:
		if r.count > 0 || r.now-r.sent < r.timing.Min/2 {
			return false, nil // too soon for a resend: a duplicate from the network
		}
		r.ack() // the end of a window once more: its ACK was lost
		r.clean = false
		r.Resent++
		return false, nil
	case ahead == 1:
	case ahead > 1 && int(ahead) <= r.Windowsize && !r.gap:
		r.gap = true
		r.ack()
		r.clean = false
		return false, nil
	default:
		return false, nil // old, or the rest of a window with a gap
	}
	return true, r.take(block, data)
}

// ahead is how far a block is from the last that came.
func (r *receiver) ahead(block uint16) uint16 {
	if r.last == 65535 && r.wrap == wrapUnknown {
		// Block 1 may be the first of a sender that leaves 0 out, or the second
		// of one whose block 0 was lost. The one that ends the window after 1
		// does not leave the latter before an ACK of ours.
		switch block {
		case 0:
			r.wrap = wrapTo0
		case r.windowEnd():
			r.wrap = wrapTo1
			r.gap = false // what was taken for one begins with block 1
		}
	}
	ahead := block - r.last
	if r.wrap == wrapTo1 && block < r.last {
		ahead--
	}
	return ahead
}

// windowEnd is the number of the block that ends a window, or the file, for a
// sender that leaves 0 out and has sent 65535 blocks.
func (r *receiver) windowEnd() uint16 {
	n := int64(r.Windowsize - r.count)
	if r.Size >= 0 {
		n = min(n, r.Size/int64(r.Blksize)+1-(r.Bytes+int64(len(r.held)))/int64(r.Blksize))
	}
	return uint16(n)
}

// take takes the next block.
func (r *receiver) take(block uint16, data []byte) error {
	came := r.Bytes + int64(len(r.held))
	if r.Size >= 0 && came+int64(len(data)) > r.Size {
		return refusal{errCancelled, fmt.Errorf("more than the %d bytes that were announced", r.Size)}
	}
	r.answered()
	r.last, r.gap, r.started = block, false, true
	r.count++
	final := len(data) < r.Blksize
	if !final && r.count >= r.Windowsize {
		r.ack()
	}
	if len(r.held)+len(data) > gatherMax {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.held) == 0 {
		r.since = r.now
	}
	if r.held == nil {
		most := int64(gatherMax)
		if r.Size >= 0 {
			most = min(most, r.Size)
		}
		r.held = make([]byte, 0, most)
	}
	r.held = append(r.held, data...)
	if !final {
		if r.count == 0 && len(r.held) >= gatherLen {
			return r.flush()
		}
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.Size >= 0 && r.Bytes < r.Size {
		return refusal{errCancelled, fmt.Errorf("%d of %d bytes: %w", r.Bytes, r.Size, io.ErrUnexpectedEOF)}
	}
	r.ack()
	r.done = true
	return nil
}

// flush writes what was gathered.
func (r *receiver) flush() error {
	if len(r.held) == 0 {
		return nil
	}
	n, err := r.w.Write(r.held)
	r.Bytes += int64(n)
	if err == nil && n < len(r.held) {
		err = io.ErrShortWrite
	}
	r.held = r.held[:0]
	if now := time.Since(r.start); now-r.now > r.timing.Min/4 {
		r.now, r.clean = now, false // an answer has waited for us
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// A refusal ends a transfer for what the server did: said goes to it.
type refusal struct {
	said *Error
	why  error
}

func (e refusal) Error() string { return e.why.Error() }
func (e refusal) Unwrap() error { return e.why }

// abort writes what came in order, and tells the server why the transfer ends.
func (r *receiver) abort(err error) {
	r.flush()
	var told peerError
	var no refusal
	switch {
	case errors.As(err, &told):
	case errors.As(err, &no):
		r.in.send(appendError(nil, no.said))
	case errors.Is(err, syscall.ENOSPC):
		r.in.send(appendError(nil, wireError(err)))
	default:
		r.in.send(appendError(nil, errCancelled))
	}
}
