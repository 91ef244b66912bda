package tftp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// An Uploader stores the files of write requests. Package upload has one.
type Uploader interface {
	// Receive takes one file, block by block, and returns how many bytes it
	// stored. It runs in a goroutine of its own; the context ends with the
	// transfer. Receive acknowledges the last block only once the whole file is
	// stored. An error refuses the request or ends the transfer. The client
	// learns of it as [Server] says.
	Receive(ctx context.Context, u *Upload) (bytes int64, err error)
}

// An Upload is the receiving end of one write request, in lockstep (RFC 1350
// section 2). It retransmits ACKs, and keeps from its Uploader whatever is not
// the next block. One goroutine uses it.
type Upload struct {
	Request *Request
	Blksize int // as granted, bytes: 512 or more

	t       *transfer
	timing  Timing
	rto     *rto
	granted Options

	buf      []byte
	accepted bool      // the request was acknowledged
	heard    bool      // DATA came
	acked    uint16    // last block that was acknowledged
	last     []byte    // that ACK, or the OACK, as sent
	sentAt   time.Time // when it was
	resent   int       // packets
}

func newUpload(t *transfer) *Upload {
	u := &Upload{Request: &t.req, Blksize: defaultBlksize, t: t, timing: t.e.timing, rto: newRTO(t.e.timing), granted: t.grant(nil)}
	u.granted.Windowsize = 0
	u.granted.Blksize = min(u.granted.Blksize, maxDatagram-headerLen-1)
	if u.granted.Blksize < defaultBlksize {
		u.granted.Blksize = 0 // smaller blocks are declined
	}
	u.Blksize = max(u.granted.Blksize, defaultBlksize)
	u.buf = make([]byte, headerLen+u.Blksize+1)
	return u
}

// upload serves a write request, and reports it.
func (e *engine) upload(t *transfer) {
	defer t.cancel(nil)
	u := newUpload(t)
	r := Result{Request: t.req}
	var err error = errNoUploads
	if e.Uploads != nil {
		r.Bytes, err = e.Uploads.Receive(t.ctx, u)
	}
	if err != nil {
		err = u.fail(err)
	}
	if u.accepted {
		r.Granted, r.Resent = u.granted, u.resent
	}
	r.Took, r.Err = time.Since(t.began), err
	e.mu.Lock()
	if err != nil {
		t.remove()
	}
	t.life.silent = true // the same request is a new one from here
	e.mu.Unlock()
	if e.Done != nil {
		e.Done(r)
	}
	if err == nil {
		u.dally(e.timing.Dally)
	}
	e.mu.Lock()
	t.remove()
	e.uploads--
	e.mu.Unlock()
}

// fail tells the client of an error, and returns the one that is reported.
func (u *Upload) fail(err error) error {
	e := u.t.e
	if !u.accepted {
		e.mu.Lock()
		defer e.unlock()
		e.reply(e.requests, u.t.peer, u.t.local, err)
		return err
	}
	var told peerError
	var busy *Error
	switch cause := context.Cause(u.t.ctx); {
	case endsUntold(err), cause != nil && endsUntold(cause), errors.As(err, &told):
	case cause != nil && !errors.As(cause, &busy):
		u.send(appendError(nil, errStopping))
	default:
		u.send(appendError(nil, wireError(err)))
	}
	return fmt.Errorf("receive %q: %w", u.t.req.Name, err)
}

// Acknowledge sends the ACK of a block. Block 0 accepts the request, with an
// OACK where options are granted (RFC 2347).
func (u *Upload) Acknowledge(block uint16) {
	u.accepted, u.acked = true, block
	u.last = appendACK(nil, block)
	if !u.heard && (u.granted != Options{}) {
		u.last = appendOACK(nil, u.granted)
	}
	u.send(u.last)
	u.sentAt = time.Now()
}

// Next waits for the block after the one that was acknowledged last, and
// retransmits that ACK by time. The data is good until the next call; less than
// Blksize bytes are the end of the file.
func (u *Upload) Next() (block uint16, data []byte, err error) {
	clean := true // the ACK was sent once
	until := u.sentAt.Add(u.timeout())
	for resends := 0; ; {
		n, err := u.recv(until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if resends++; resends > u.timing.Retries || !u.heard && resends > u.timing.First {
				return 0, nil, errSilent
			}
			u.rto.backoff()
			u.retransmit()
			clean = false
			until = u.sentAt.Add(u.timeout())
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		p := u.buf[:n]
		if opcode(p) == opERROR {
			return 0, nil, peerError{parseError(p)}
		}
		block, data, ok := parseBlock(p)
		switch {
		case opcode(p) != opDATA || !ok || len(p) == len(u.buf): // the last: more than a block
		case block == u.acked+1:
			if clean {
				u.rto.sample(time.Since(u.sentAt))
			}
			if !u.heard {
				u.heard = true
				u.establish()
			}
			u.rto.fixed = u.granted.Timeout
			return block, data, nil
		case block == u.acked && u.heard && time.Since(u.sentAt) >= u.timing.Min/2:
			u.retransmit() // our ACK was lost
			clean = false
		}
	}
}

// timeout is twice the sender's once it was heard, see Timing.
func (u *Upload) timeout() time.Duration {
	if !u.heard || u.rto.fixed > 0 {
		return u.rto.timeout()
	}
	return min(2*u.rto.timeout(), u.timing.Max)
}

func (u *Upload) retransmit() {
	u.resent++
	u.send(u.last)
	u.sentAt = time.Now()
}

// establish notes that the client is there. Where there is no room for it the
// transfer's context has ended.
func (u *Upload) establish() {
	u.t.e.mu.Lock()
	defer u.t.e.unlock()
	u.t.establish()
}

func (u *Upload) send(p []byte) {
	u.t.e.mu.Lock()
	defer u.t.e.unlock()
	u.t.endpoint.out.Packet(&u.t.route, p)
}

// recv waits for a packet of the client's. It returns os.ErrDeadlineExceeded
// when the time has come, or the context's cause.
func (u *Upload) recv(until time.Time) (int, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case p := <-u.t.packets:
		return copy(u.buf, p), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	case <-u.t.ctx.Done():
		return 0, context.Cause(u.t.ctx)
	}
}

// dally retransmits the last ACK for a while, RFC 1350 section 6.
func (u *Upload) dally(d time.Duration) {
	for until := time.Now().Add(d); ; {
		n, err := u.recv(until)
		if err != nil || opcode(u.buf[:n]) == opERROR {
			return
		}
		if block, _, ok := parseBlock(u.buf[:n]); ok && opcode(u.buf[:n]) == opDATA && block == u.acked {
			u.send(slices.Clone(u.last))
		}
	}
}
