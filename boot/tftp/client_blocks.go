package tftp

import (
	"fmt"
	"io"
	"time"
)

// A wrap is the number of the block after 65535. RFC 1350 has none. Most
// senders go on with 0, some with 1.
type wrap uint8

const (
	wrapUnknown wrap = iota
	wrapTo0
	wrapTo1
)

// ahead is how far a block is from the last that came.
func (d *download) ahead(block uint16) uint16 {
	if d.last == 65535 && d.wrap == wrapUnknown {
		// Block 1 may be the first of a sender that leaves 0 out, or the second
		// of one whose block 0 was lost. The latter does not send the block
		// that ends the window after 1 before an ACK of ours.
		switch block {
		case 0:
			d.wrap = wrapTo0
		case d.windowEnd():
			d.wrap = wrapTo1
			d.gap = false // what was taken for a gap begins with block 1
		}
	}
	ahead := block - d.last
	if d.wrap == wrapTo1 && block < d.last {
		ahead--
	}
	return ahead
}

// windowEnd is the number of the block that ends a window, or the file. It is
// for a sender that leaves 0 out and has sent 65535 blocks.
func (d *download) windowEnd() uint16 {
	n := int64(d.Windowsize - d.count)
	if d.Size >= 0 {
		n = min(n, d.Size/int64(d.Blksize)+1-(d.Bytes+int64(len(d.gathered)))/int64(d.Blksize))
	}
	return uint16(n)
}

// take takes the next block.
func (d *download) take(block uint16, data []byte) error {
	came := d.Bytes + int64(len(d.gathered))
	if d.Size >= 0 && came+int64(len(data)) > d.Size {
		return refusal{errCancelled, fmt.Errorf("more than the %d bytes that were announced", d.Size)}
	}
	d.answered()
	d.last, d.gap, d.started = block, false, true
	d.count++
	final := len(data) < d.Blksize
	if !final && d.count >= d.Windowsize {
		d.ack()
	}
	if len(d.gathered)+len(data) > gatherMax {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if len(d.gathered) == 0 {
		d.gatheredAt = d.now
	}
	if d.gathered == nil {
		most := int64(gatherMax)
		if d.Size >= 0 {
			most = min(most, d.Size)
		}
		d.gathered = make([]byte, 0, most)
	}
	d.gathered = append(d.gathered, data...)
	if !final {
		if d.count == 0 && len(d.gathered) >= gatherLen {
			return d.flush()
		}
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	if d.Size >= 0 && d.Bytes < d.Size {
		return refusal{errCancelled, fmt.Errorf("%d of %d bytes: %w", d.Bytes, d.Size, io.ErrUnexpectedEOF)}
	}
	d.ack()
	d.done = true
	return nil
}

// flush writes what was gathered.
func (d *download) flush() error {
	if len(d.gathered) == 0 {
		return nil
	}
	n, err := d.w.Write(d.gathered)
	d.Bytes += int64(n)
	if err == nil && n < len(d.gathered) {
		err = io.ErrShortWrite
	}
	d.gathered = d.gathered[:0]
	if now := time.Since(d.start); now-d.now > d.timing.Min/4 {
		d.now, d.clean = now, false // w took long, and an answer may have waited
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
