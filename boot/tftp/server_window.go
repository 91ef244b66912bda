package tftp

import (
	"bytes"
	"fmt"
	"time"
)

// A window is the sender's state of RFC 7440. Blocks are counted from 1 and do
// not wrap, see blockNumber. In lockstep its size is 1.
type window struct {
	size  int   // blocks
	acked int64 // last block that was acknowledged
	high  int64 // highest block that was sent
	next  int64 // block to be sent next
	final int64 // the file's last block, -1 while it is not known
	total int64 // bytes of the file, once final was sent
	bytes int64 // that were acknowledged

	sentAt  time.Time // when all of the window had left
	clean   bool      // nothing of it was retransmitted
	resends int       // timeouts in a row
	resent  int       // packets that were retransmitted

	// ambiguous is the last block that was retransmitted while the original
	// could still arrive. An ACK up to it gives no RTT sample (Karn).
	ambiguous int64

	// lastTimedOut says that the last window needed a timeout. Then the next
	// timeout does not double the RTO: to wait longer does not help at once.
	lastTimedOut bool

	dupACKIsLoss bool // a duplicate ACK may stand for a lost block
	dupACK       bool // one came
}

// blockNumber is the number of block n in a packet. RFC 1350 has none after
// 65535.
func (t *transfer) blockNumber(n int64) uint16 {
	if t.e.RollToOne && n > 0 {
		return uint16((n-1)%65535 + 1)
	}
	return uint16(n)
}

// ahead tells how many blocks an ACK is ahead of the last.
func (t *transfer) ahead(block uint16) int64 {
	if !t.e.RollToOne {
		return int64(block - uint16(t.win.acked))
	}
	d := int64(block) - int64(t.blockNumber(t.win.acked))
	if d < 0 && block > 0 {
		d += 65535
	}
	if d < 0 {
		return t.win.high - t.win.acked + 1 // never sent
	}
	return d
}

// sendWindow sends what follows the last acknowledged block.
func (t *transfer) sendWindow() {
	t.win.next, t.win.dupACK = t.win.acked+1, false
	t.read.missing, t.read.head = nil, nil
	t.send()
}

// send goes on with the window, up to its end, a pause between bursts or a
// chunk that is not there yet.
func (t *transfer) send() {
	t.pace.paused, t.e.cache.user = false, t
	edge := t.win.acked + int64(t.win.size)
	if t.win.final >= 0 {
		edge = min(edge, t.win.final)
	}
	for left := t.pace.burst; t.win.next <= edge; left-- {
		if left == 0 {
			if t.pauseBurst() {
				return
			}
			left = t.pace.burst
		}
		data, more, err := t.block(t.win.next)
		if err != nil {
			t.end(err)
			return
		}
		if t.read.missing != nil {
			t.e.timers.stop(t)
			return // cache.finish calls send again
		}
		t.endpoint.out.Block(&t.route, dataHeader(t.blockNumber(t.win.next)), data, more)
		if n := len(data) + len(more); n < t.neg.blksize {
			t.win.final, t.win.total = t.win.next, (t.win.next-1)*int64(t.neg.blksize)+int64(n)
			edge = t.win.final
		}
		if t.win.next <= t.win.high {
			t.win.resent++
		}
		t.win.high = max(t.win.high, t.win.next)
		t.win.next++
	}
	t.win.sentAt = t.e.now
	t.e.timers.setTimeout(t, t.e.now, t.rto.timeout())
}

// block finds the data of block n, in one piece of the cache or in two. Where
// one is not there yet, read.missing is set.
func (t *transfer) block(n int64) (data, more []byte, err error) {
	off := (n - 1) * int64(t.neg.blksize)
	data, t.read.head = t.read.head, nil
	if data == nil {
		if data, err = t.piece(0, off, t.neg.blksize); err != nil || t.read.missing != nil {
			return nil, nil, err
		}
	}
	if k := len(data); k < t.neg.blksize && (t.file.size < 0 || off+int64(k) < t.file.size) && (off+int64(k))%chunkSize == 0 {
		if more, err = t.piece(1, off+int64(k), t.neg.blksize-k); err != nil {
			return nil, nil, err
		}
		if t.read.missing != nil {
			t.read.head = bytes.Clone(data) // the cache may drop it meanwhile
		}
	}
	return data, more, nil
}

// piece returns up to n bytes at an offset, out of one chunk of the file. Slot
// i remembers the chunk.
func (t *transfer) piece(i int, off int64, n int) ([]byte, error) {
	c := t.read.chunks[i]
	if at := off / chunkSize; c == nil || c.file != t.file || c.index != at {
		if c = t.e.cache.chunk(t.file, at); c == nil {
			return nil, nil // an empty file, or its very end
		}
		t.read.chunks[i] = c
		t.e.nextChunk = t
		t.e.cache.readOn(c, int64(t.win.size*t.neg.blksize))
	}
	switch {
	case !c.ready:
		t.read.missing = c
		t.read.chunks[i] = nil
		c.waiting = append(c.waiting, t)
		return nil, nil
	case c.err != nil:
		return nil, c.err
	}
	data := c.data[min(off%chunkSize, int64(len(c.data))):]
	return data[:min(n, len(data))], nil
}

// readAhead reads what the next window is made of, while the client is busy
// with this one.
func (t *transfer) readAhead() {
	if t.life.ended || t.read.missing != nil {
		return
	}
	from := (t.win.next - 1) * int64(t.neg.blksize) / chunkSize
	to := (t.win.next - 1 + int64(t.win.size)) * int64(t.neg.blksize) / chunkSize
	for i := from; i <= min(to, from+3); i++ {
		t.e.cache.chunk(t.file, i)
	}
}

// timeout is called when the transfer's timer fires: to retransmit, or to go on
// after a pause between bursts.
func (t *transfer) timeout() {
	w := &t.win
	switch {
	case t.life.unreachable:
		t.end(errGone)
	case t.neg.oack != nil:
		if w.resends++; w.resends > t.e.timing.First {
			t.end(fmt.Errorf("options: %w", errSilent))
			return
		}
		t.rto.backoff()
		w.resent++
		t.sendOACK()
	case t.pace.paused:
		t.send()
	case w.dupACK: // and no better ACK came within the grace
		w.clean, w.dupACKIsLoss, w.ambiguous = false, false, w.high
		t.pace.shrink(w.size)
		t.sendWindow()
	default:
		if w.resends++; w.resends > t.e.timing.Retries || t.life.halfOpen && w.resends > t.e.timing.First {
			t.end(fmt.Errorf("%d bytes acknowledged: %w", w.bytes, errSilent))
			return
		}
		if w.resends > 1 || !w.lastTimedOut {
			t.rto.backoff()
		}
		w.clean, w.dupACKIsLoss, w.ambiguous = false, true, w.high
		t.life.silent = !t.life.halfOpen
		t.pace.shrink(w.size)
		t.pace.overrun(&t.rto, w.size)
		t.sendWindow()
	}
}
