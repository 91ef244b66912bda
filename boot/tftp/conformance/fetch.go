package conformance

import (
	"bytes"
	"strconv"
	"time"
)

// fetch gets a file as a client should that follows RFC 1350 and 7440.
func (c *client) fetch(name string, options ...string) []byte {
	var got bytes.Buffer
	d := NewDownload(name, c.transferMode(), options...)
	d.Deliver = func(_ int64, data []byte, _ bool) error {
		got.Write(data)
		return nil
	}
	c.download, c.packets = d, 0
	c.startTransfer(bytes.Clone(d.Reply))
	began := time.Now()
	moved := began // when a block came last
	for !d.Over {
		k, ok := c.recv(time.Now().Add(time.Second))
		switch now := time.Now(); {
		case c.within > 0 && now.Sub(began) > c.within:
			c.latef("%s: %d bytes came in %.0f s", name, got.Len(), now.Sub(began).Seconds())
		case now.Sub(moved) > c.guards().packet || now.Sub(began) > c.guards().download:
			c.failf("%s: %d bytes came in %.0f s", name, got.Len(), now.Sub(began).Seconds())
		case !ok:
			d.Timeout() // the last packet or its answer was lost
			c.send(d.Reply)
		case !c.peer.IsValid() && (k.Op == OpERROR || k.Op == OpOACK || k.Op == OpDATA && k.Block == 1):
			c.peer = k.from
			fallthrough
		case k.from == c.peer:
			if c.take(d, k.Packet) {
				moved = now
			}
		}
	}
	if d.Failed != "" {
		c.failf("%s: %s after %d bytes", name, d.Failed, got.Len())
	}
	return got.Bytes()
}

// take hands one packet to a download and answers it. It reports whether that
// was the block that was due.
func (c *client) take(d *Download, k Packet) bool {
	if k.Op == OpDATA {
		if c.packets++; c.lose != nil && c.lose(c.packets) {
			return false
		}
	}
	before := d.Blocks()
	reply := d.Take(k)
	moved := d.Blocks() > before
	if !reply {
		return moved
	}
	if moved && c.extra != nil {
		for _, n := range c.extra(d.Blocks()) {
			c.ack(n)
		}
	}
	c.send(d.Reply)
	return moved
}

// number is a numeric option of the last download, or otherwise.
func (c *client) number(name string, otherwise int) int {
	s, ok := c.download.Granted[name]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		c.failf("granted is %s %q", name, s)
	}
	return n
}

// whole fetches a file of the tree and compares it.
func (c *client) whole(name string, options ...string) {
	c.same(name, c.fetch(name, options...), files()[name])
}

func (c *client) same(name string, got, want []byte) {
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	c.failf("%s: %d bytes came, %d are right; they differ from byte %d on", name, len(got), len(want), at)
}
