package files

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// An Outcome is what came of one request for a file.
type Outcome struct {
	File   string        // as served
	Bytes  int64         // moved
	Total  int64         // of the file, 0 where nobody asks
	Took   time.Duration // 0 where nothing was moved
	Failed bool          // nothing was moved, or not all that was asked for
	Text   string        // what happened, for a person: "sent x, 9 bytes in 1ms"
}

// Refused is the outcome of a request that got nothing.
func Refused(file, why string) Outcome {
	return Outcome{File: file, Failed: true, Text: file + ": " + why}
}

// A Count is how many requests of one protocol came to an end, and how.
type Count struct {
	Served atomic.Int64 // files or parts of them
	Failed atomic.Int64 // requests that got nothing, or not all
	Bytes  atomic.Int64 // that went out
}

// Count returns the numbers of a protocol, a name of boot.Protocols.
func (t *Tree) Count(via string) *Count {
	c, ok := t.counts.Load(via)
	if !ok {
		c, _ = t.counts.LoadOrStore(via, new(Count))
	}
	return c.(*Count)
}

// Done counts what came of a request and notes it in the journal. Each request
// is told of once.
func (t *Tree) Done(c Client, o Outcome) {
	count := t.Count(c.Via)
	count.Bytes.Add(o.Bytes)
	if o.Failed {
		count.Failed.Add(1)
	} else {
		count.Served.Add(1)
	}
	t.note(c, boot.Event{
		Kind: boot.KindServe, Proto: c.Via, File: o.File, Bytes: o.Bytes, Total: o.Total, Took: o.Took,
		Text: c.Via + ": " + o.Text,
	})
}

// Sent says that a file went out whole, or the part of it that was asked for:
// "bytes 0-9/100" as in Content-Range (RFC 9110 section 14.4), "" for all.
func Sent(file, part string, n int64, took time.Duration) string {
	if part == "" {
		part = fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("sent %s, %s in %v", file, part, took.Round(time.Millisecond))
}
