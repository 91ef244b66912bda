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

	"github.com/bootlace/bootlace/boot/udp"
)

const (
	gatherLen = 64 << 10 // bytes of blocks that are written at once
	gatherMax = 2 * gatherLen
)

// A download is one Get. It acknowledges the last block of each window and,
// once for a gap, the last block before it (RFC 7440 section 4).
type download struct {
	Stats
	conn     *udp.Conn
	asked    Options
	w        io.Writer
	announce func(int64) error
	timing   Timing
	rto      *rto

	cancelled atomic.Bool

	ackBuf  []byte // an ACK
	start   time.Time
	now     time.Duration // since start: when the packets at hand were read
	sentAt  time.Duration // since start: when the request or the last ACK was sent
	clean   bool          // that was sent once, and no answer came yet
	last    uint16        // last block that came in order, or 0
	count   int           // blocks since the last ACK
	gap     bool          // a gap was acknowledged, and is not filled yet
	started bool          // DATA came
	wrap    wrap          // what follows block 65535
	done    bool          // the file is whole

	gathered   []byte        // blocks that came in order and w has not
	gatheredAt time.Duration // since start: when the first of them came
}

// run returns nil when the whole file was written and acknowledged. It begins
// with what the server answered.
func (d *download) run(ctx context.Context, answer []byte) error {
	if err := d.begin(answer); err != nil || d.done {
		return err
	}
	yielded, until := d.now, d.now+d.timeout()
	for resends := 0; ; {
		d.conn.SetTimeout(until - d.now)
		n, _ := d.conn.Read() // an error is of an earlier packet; silence ends the transfer
		d.now = time.Since(d.start)
		if d.now-yielded >= yieldEvery {
			runtime.Gosched()
			yielded = d.now
		}
		if d.cancelled.Load() {
			return context.Cause(ctx)
		}
		progress := false
		for i := range n {
			p, err := d.datagram(i)
			if err != nil || d.done {
				return err
			}
			progress = progress || p
		}
		late := !progress && d.now >= until
		if len(d.gathered) > 0 && (late || d.now-d.gatheredAt >= d.timing.Gather) {
			if err := d.flush(); err != nil {
				return err
			}
		}
		switch {
		case progress:
			if resends == 0 {
				d.rto.ease()
			}
			resends = 0
			until = d.now + d.timeout()
		case late:
			if resends++; resends > d.timing.Retries {
				return fmt.Errorf("%w: %d bytes came, then nothing: %w", errSilent, d.Bytes, os.ErrDeadlineExceeded)
			}
			d.rto.backoff()
			d.Resent++
			d.ack()
			d.gap, d.clean = false, false // another gap may open
			until = d.now + d.timeout()
		}
	}
}

// timeout is twice the sender's, see Timing.
func (d *download) timeout() time.Duration { return min(2*d.rto.timeout(), d.timing.Max) }

// ack acknowledges all that came in order. A new window begins.
func (d *download) ack() {
	d.ackBuf = appendACK(d.ackBuf[:0], d.last)
	d.conn.Send(d.ackBuf)
	d.sentAt = d.now
	d.clean, d.count = true, 0
}

// answered samples the round trip of the packet that was sent last.
func (d *download) answered() {
	if d.clean {
		d.rto.sample(d.now - d.sentAt)
	}
	d.clean = false
}

// datagram takes one datagram, which may be several that the kernel merged.
func (d *download) datagram(i int) (progress bool, err error) {
	p, size := d.conn.Datagram(i)
	for len(p) > 0 && err == nil && !d.done {
		n, more := min(size, len(p)), false
		more, err = d.packet(p[:n])
		progress = progress || more
		p = p[n:]
	}
	return progress, err
}

// packet takes one packet of the server's.
func (d *download) packet(p []byte) (progress bool, err error) {
	switch opcode(p) {
	case opOACK:
		if !d.started && d.asked != (Options{}) {
			d.ack() // the last one was lost
			d.clean = false
		}
	case opDATA:
		return d.data(p)
	case opERROR:
		return false, peerError{parseError(p)}
	}
	return false, nil
}

// begin takes the server's answer to the request: an OACK or the first block.
func (d *download) begin(p []byte) error {
	o, err := Options{}, error(nil)
	if opcode(p) == opOACK {
		if o, err = parseOACK(p); err == nil {
			err = o.within(d.asked)
		}
		if err != nil {
			return refusal{&Error{CodeOptions, "options were not asked for"}, err}
		}
		d.Blksize = cmp.Or(o.Blksize, d.Blksize)
		d.Windowsize = max(o.Windowsize, 1)
		if o.TSize {
			d.Size = o.Size
		}
	}
	if d.announce != nil {
		if err := d.announce(d.Size); err != nil {
			return err
		}
	}
	if opcode(p) != opOACK {
		_, err := d.packet(p)
		return err
	}
	if d.Windowsize > 1 {
		d.conn.Widen(d.Windowsize, headerLen+d.Blksize)
	}
	d.answered()
	d.ack()
	return nil
}

// data takes a DATA packet.
func (d *download) data(p []byte) (progress bool, err error) {
	block, data, ok := parseBlock(p)
	if !ok {
		return false, nil
	}
	if len(data) > d.Blksize {
		return false, refusal{errIllegal, fmt.Errorf("block of more than %d bytes", d.Blksize)}
	}
	switch ahead := d.ahead(block); {
	case ahead == 0 && d.started:
		if d.count > 0 || d.now-d.sentAt < d.timing.Min/2 {
			return false, nil // too soon for a retransmission: the network doubled it
		}
		d.ack() // the last block of a window once more: its ACK was lost
		d.clean = false
		d.Resent++
		return false, nil
	case ahead == 1:
	case ahead > 1 && int(ahead) <= d.Windowsize && !d.gap:
		d.gap = true
		d.ack()
		d.clean = false
		return false, nil
	default:
		return false, nil // old, or the rest of a window with a gap
	}
	return true, d.take(block, data)
}

// A refusal ends a transfer for what the server did. It is told so.
type refusal struct {
	said *Error
	why  error
}

func (e refusal) Error() string { return e.why.Error() }
func (e refusal) Unwrap() error { return e.why }

// abort writes what came in order, and tells the server why the transfer ends.
func (d *download) abort(err error) {
	d.flush()
	var told peerError
	var no refusal
	switch {
	case errors.As(err, &told):
	case errors.As(err, &no):
		d.conn.Send(appendError(nil, no.said))
	case errors.Is(err, syscall.ENOSPC):
		d.conn.Send(appendError(nil, wireError(err)))
	default:
		d.conn.Send(appendError(nil, errCancelled))
	}
}
