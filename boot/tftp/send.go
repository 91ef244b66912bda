package tftp

import (
	"bytes"
	"fmt"
	"time"
)

// ack takes an ACK.
func (t *transfer) ack(block uint16) {
	if t.oack != nil {
		if block != 0 || !t.answered() {
			return
		}
		if t.resends == 0 {
			t.rto.sample(t.e.now.Sub(t.sent))
		}
		t.rto.fixed = t.granted.Timeout // holds from here: before, the client had not agreed
		t.oack, t.resends, t.gone = nil, 0, false
		t.sendWindow()
		return
	}
	switch ahead := t.ahead(block); {
	case ahead > t.high-t.base:
		// Old, or never sent.
	case ahead > 0:
		if !t.answered() {
			return
		}
		t.progress(t.base + ahead)
		if t.base == t.last {
			t.end(nil)
			return
		}
		t.sendWindow()
	case t.window > 1 && t.trust && !t.gap && t.missing == nil:
		// The window's first block is missing, or the network doubled the ACK.
		// If the client has the window, its own ACK comes within the grace. In
		// lockstep it is always a duplicate, and answering one would double
		// every packet from there on: the Sorcerer's Apprentice, RFC 1123
		// section 4.2.3.1.
		t.gap = true
		if soon := t.e.now.Add(t.rto.grace()); soon.Before(t.due) {
			t.e.clock.set(t, soon)
		}
	}
}

// wire is the number of block n in a packet.
func (t *transfer) wire(n int64) uint16 {
	if t.e.RollToOne && n > 0 {
		return uint16((n-1)%65535 + 1)
	}
	return uint16(n)
}

// ahead tells how many blocks an ACK is ahead of base.
func (t *transfer) ahead(block uint16) int64 {
	if !t.e.RollToOne {
		return int64(block - uint16(t.base))
	}
	d := int64(block) - int64(t.wire(t.base))
	if d < 0 && block > 0 {
		d += 65535
	}
	if d < 0 {
		return t.high - t.base + 1 // never sent
	}
	return d
}

// progress takes an ACK that is ahead. If it is for less than was sent it stands
// at a gap, and what follows is sent again, RFC 7440 section 4.
func (t *transfer) progress(base int64) {
	whole := t.clean && base == t.high
	t.measure(base)
	t.closer(base)
	t.trust = whole // where blocks went out twice, so may ACKs
	t.clean = base == t.high
	if !t.clean {
		t.slower()
	} else if whole {
		t.faster()
	}
	t.rescued = t.resends > 0
	t.base, t.resends, t.stalled, t.gone, t.moved = base, 0, false, false, t.e.now
	if t.acked = base * int64(t.blksize); base == t.last {
		t.acked = t.total
	}
}

// measure takes a round trip from an ACK of a window that needed no timeout. Up
// to doubt blocks were sent again while they may have been on their way, so an
// ACK may be for either (Karn). One of that kind, or one at a gap, only takes
// back half of what timeouts doubled, if it came soon: where hardly a window of
// 64 comes whole nothing else would. A slow link takes longer for the whole of
// a window than for the part before a gap, by up to their ratio.
func (t *transfer) measure(base int64) {
	const most = 8 // of that ratio: more would make a delay on the machine look like a slow link
	took, part := t.e.now.Sub(t.sent), base-t.base
	switch whole := t.high - t.base; {
	case t.resends > 0:
	case part == whole && base > t.doubt:
		t.rto.sample(took)
	case took*time.Duration(min(whole, most*part))/time.Duration(part) < t.rto.value/2:
		t.rto.ease()
	}
}

// bursts that a window may leave in, at most.
const bursts = 8

// slower halves what is sent at once. The whole window has to be sent all the
// same, since a receiver acknowledges no less (RFC 7440 section 4): a window
// that overruns a device's ring leaves in bursts, with the time between them
// that it takes to receive one.
func (t *transfer) slower() { t.burst = min(t.burst, max(t.burst/2, t.window/bursts, 1)) }

// faster takes an eighth of that back.
func (t *transfer) faster() { t.burst = min(t.burst+max(t.window/16, 1), t.window) }

// overrun has bursts leave further apart, from eight blocks a round trip on: of a
// window not even the end came. But all of it leaves within a timeout.
func (t *transfer) overrun() {
	const least = 10 * time.Microsecond // a block, at some 1 Gbit/s
	t.pace = min(max(2*t.pace, t.rto.srtt/8, least), t.rto.measured/time.Duration(t.window))
}

// closer takes of that back for an ACK that needed no timeout, and most where a
// block is missing early in a window: that was the link, since no ring is too
// small for a burst.
func (t *transfer) closer(base int64) {
	switch part := base - t.base; {
	case t.resends > 0:
	case base < t.high && part < int64(t.window/bursts):
		t.pace /= 2
	default:
		t.pace -= t.pace / 8
	}
}

// sendWindow sends what follows base.
func (t *transfer) sendWindow() {
	t.next, t.gap, t.missing, t.head = t.base+1, false, nil, nil
	t.send()
}

// send goes on with the window.
func (t *transfer) send() {
	t.resting, t.e.cache.user = false, t
	edge := t.base + int64(t.window)
	if t.last >= 0 {
		edge = min(edge, t.last)
	}
	for left := t.burst; t.next <= edge; left-- {
		if left == 0 {
			if pause := t.pace * time.Duration(t.burst); pause > 50*time.Microsecond {
				t.resting = true
				t.e.clock.set(t, t.e.now.Add(pause))
				return
			}
			left = t.burst
		}
		data, more, err := t.block(t.next)
		if err != nil {
			t.end(err)
			return
		}
		if t.missing != nil {
			t.e.clock.unset(t)
			return // it comes here again
		}
		t.line.out.block(&t.route, t.wire(t.next), data, more)
		if n := len(data) + len(more); n < t.blksize {
			t.last, t.total = t.next, (t.next-1)*int64(t.blksize)+int64(n)
			edge = t.last
		}
		if t.next <= t.high {
			t.resent++
		}
		t.high = max(t.high, t.next)
		t.next++
	}
	t.sent = t.e.now
	t.e.clock.timeout(t, t.e.now, t.rto.wait())
}

// block finds the data of block n, in one piece of the cache or in two; missing
// is set when one is not there yet.
func (t *transfer) block(n int64) (data, more []byte, err error) {
	off := (n - 1) * int64(t.blksize)
	data, t.head = t.head, nil
	if data == nil {
		if data, err = t.piece(0, off, t.blksize); err != nil || t.missing != nil {
			return nil, nil, err
		}
	}
	if k := len(data); k < t.blksize && (t.file.size < 0 || off+int64(k) < t.file.size) && (off+int64(k))%chunkSize == 0 {
		if more, err = t.piece(1, off+int64(k), t.blksize-k); err != nil {
			return nil, nil, err
		}
		if t.missing != nil {
			t.head = bytes.Clone(data) // it may be gone by the time that the rest is there
		}
	}
	return data, more, nil
}

// piece returns up to n bytes at an offset, of one chunk of the file.
func (t *transfer) piece(i int, off int64, n int) ([]byte, error) {
	c := t.pieces[i]
	if at := off / chunkSize; c == nil || c.file != t.file || c.index != at {
		if c = t.e.cache.chunk(t.file, at); c == nil {
			return nil, nil // an empty file, or its very end
		}
		t.pieces[i] = c
		t.e.reader = t
		t.e.cache.ahead(c, int64(t.window*t.blksize))
	}
	switch {
	case !c.ready:
		t.missing = c
		t.pieces[i] = nil
		c.waiting = append(c.waiting, t)
		return nil, nil
	case c.err != nil:
		return nil, c.err
	}
	data := c.data[min(off%chunkSize, int64(len(c.data))):]
	return data[:min(n, len(data))], nil
}

// readAhead reads what the next window is made of, while the client has its
// hands full with this one.
func (t *transfer) readAhead() {
	if t.over || t.missing != nil {
		return
	}
	from := (t.next - 1) * int64(t.blksize) / chunkSize
	to := (t.next - 1 + int64(t.window)) * int64(t.blksize) / chunkSize
	for i := from; i <= min(to, from+3); i++ {
		t.e.cache.chunk(t.file, i)
	}
}

// timeout sends again, or goes on with a window that leaves in bursts.
func (t *transfer) timeout() {
	switch {
	case t.gone:
		t.end(errGone)
	case t.oack != nil:
		if t.resends++; t.resends > t.e.timing.First {
			t.end(fmt.Errorf("options: %w", errSilent))
			return
		}
		t.rto.backoff()
		t.resent++
		t.offer()
	case t.resting:
		t.send()
	case t.gap:
		t.clean, t.trust, t.doubt = false, false, t.high
		t.slower()
		t.sendWindow()
	default:
		if t.resends++; t.resends > t.e.timing.Retries || t.waits && t.resends > t.e.timing.First {
			t.end(fmt.Errorf("%d bytes acknowledged: %w", t.acked, errSilent))
			return
		}
		if t.resends > 1 || !t.rescued {
			t.rto.backoff()
		}
		t.clean, t.trust, t.doubt = false, true, t.high
		t.stalled = !t.waits
		t.slower()
		t.overrun()
		t.sendWindow()
	}
}
