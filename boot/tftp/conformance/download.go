package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

// A Download is the receiving side of one transfer. It has no socket and no
// clock: its owner hands in packets and timeouts, and sends Reply when told.
//
// It behaves as the clients in firmware do. It acknowledges the last block of
// a window, and a gap once (RFC 7440 section 4). It repeats an ACK when the
// acknowledged block comes again, and after a timeout. It measures no round
// trips.
type Download struct {
	// Deliver takes the blocks in order. Its error ends the download.
	Deliver func(offset int64, data []byte, last bool) error

	Reply      []byte            // to send next: the request, then ACKs
	Granted    map[string]string // options of the OACK; nil: none came
	Blksize    int               // bytes, as granted
	Windowsize int               // blocks, as granted
	Over       bool              // the last block came, or it failed
	Failed     string            // why, once it is over
	Corrupt    bool              // it failed since the content was wrong

	asked    struct{ blksize, windowsize int }
	next     int64 // block
	answered bool  // an OACK or DATA came
	started  bool  // DATA came
	unacked  int   // blocks since the last ACK
	gap      bool  // was acknowledged, and is not filled yet
}

// NewDownload asks for a file. Options are names, each with its value.
func NewDownload(name, mode string, options ...string) *Download {
	d := &Download{Blksize: DefaultBlksize, Windowsize: 1, next: 1}
	d.asked.blksize, d.asked.windowsize = DefaultBlksize, 1
	for i := 0; i+1 < len(options); i += 2 {
		n, err := strconv.Atoi(options[i+1])
		if err != nil {
			continue
		}
		switch strings.ToLower(options[i]) {
		case "blksize":
			d.asked.blksize = n
		case "windowsize":
			d.asked.windowsize = n
		}
	}
	d.Reply = AppendRequest(make([]byte, 0, 512), OpRRQ, name, mode, options...)
	return d
}

// Blocks is the number of blocks that came in order.
func (d *Download) Blocks() int64 { return d.next - 1 }

// Take takes one packet, and reports whether Reply is to be sent.
func (d *Download) Take(k Packet) (reply bool) {
	if d.Failed != "" {
		return false
	}
	switch k.Op {
	case OpDATA:
		d.answered = true
		return d.data(k.Block, k.Data)
	case OpOACK:
		return d.oack(k)
	case OpERROR:
		if !d.Over {
			d.Fail(k.String())
		}
	}
	return false
}

// Timeout takes a silence of the server. Reply is to be sent again.
func (d *Download) Timeout() {
	if d.answered {
		d.ack()
		d.gap = false
	}
}

// Fail ends the download.
func (d *Download) Fail(why string) { d.Over, d.Failed = true, why }

// wrongContent begins the reason of a download whose content was wrong.
const wrongContent = "wrong content: "

func (d *Download) corrupt(err error) {
	d.Corrupt = true
	d.Fail(wrongContent + err.Error())
}

func (d *Download) oack(k Packet) bool {
	if d.started {
		return false
	}
	d.Granted, d.answered = k.Options, true
	d.Blksize, d.Windowsize = DefaultBlksize, 1
	for _, o := range []struct {
		name        string
		value       *int
		least, most int
	}{{"blksize", &d.Blksize, 8, d.asked.blksize}, {"windowsize", &d.Windowsize, 1, d.asked.windowsize}} {
		text, ok := k.Options[o.name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			d.Fail(fmt.Sprintf("OACK: option %q is %q", o.name, text))
			return false
		}
		if n < o.least || n > o.most {
			d.Fail(fmt.Sprintf("OACK: %s %d was not asked for", o.name, n))
			return false
		}
		*o.value = n
	}
	d.ack()
	return true
}

func (d *Download) data(block uint16, data []byte) bool {
	switch ahead := block - uint16(d.next); {
	case ahead == 0 && !d.Over:
	case block == uint16(d.next-1) && d.started && d.unacked == 0:
		return true // the end of a window again: its ACK was lost
	case ahead > 0 && int(ahead) < d.Windowsize && !d.gap && !d.Over:
		d.gap = true
		d.ack()
		return true
	default:
		return false // old, or the rest of a window with a gap
	}
	if len(data) > d.Blksize {
		d.corrupt(fmt.Errorf("a block of %d bytes where %d were agreed", len(data), d.Blksize))
		return false
	}
	last := len(data) < d.Blksize
	if err := d.Deliver((d.next-1)*int64(d.Blksize), data, last); err != nil {
		d.corrupt(err)
		return false
	}
	d.next++
	d.unacked++
	d.started, d.gap = true, false
	if d.Over = last; last || d.unacked >= d.Windowsize {
		d.ack()
		return true
	}
	return false
}

// ack makes the ACK for all blocks that came in order.
func (d *Download) ack() {
	d.Reply = AppendHeader(d.Reply[:0], OpACK, uint16(d.next-1))
	d.unacked = 0
}
