package files

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// An Outcome is how one request for a file ended.
type Outcome struct {
	File   string        // as served
	Bytes  int64         // bytes sent or received
	Total  int64         // size of the file, 0 where unknown
	Took   time.Duration // 0 where no byte was sent
	Failed bool          // no byte was sent, or not all that were requested
	Text   string        // one line for a person: "sent x, 9 bytes in 1ms"
}

// Refused is the outcome of a request that was refused.
func Refused(file, why string) Outcome {
	return Outcome{File: file, Failed: true, Text: file + ": " + why}
}

// A Count has the numbers of one protocol.
type Count struct {
	Served atomic.Int64 // requests for files or parts of them that succeeded
	Failed atomic.Int64 // requests that failed or broke off
	Bytes  atomic.Int64 // bytes sent or received
}

// Count returns the numbers of a protocol, by its name in boot.Protocols.
func (t *Tree) Count(via string) *Count {
	c, ok := t.counts.Load(via)
	if !ok {
		c, _ = t.counts.LoadOrStore(via, new(Count))
	}
	return c.(*Count)
}

// Done counts the outcome of a request and adds it to the journal. Servers call
// it once for each request.
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

// Sent says that a file was sent. part is the range that was requested, as in
// Content-Range (RFC 9110 section 14.4): "bytes 0-9/100". "" means the whole
// file.
func Sent(file, part string, n int64, took time.Duration) string {
	if part == "" {
		part = fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("sent %s, %s in %v", file, part, took.Round(time.Millisecond))
}
