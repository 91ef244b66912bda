package main

import (
	"bytes"
	"cmp"
	"strconv"
	"time"
)

// fetch gets a file as a client should that follows RFC 1350 and 7440.
func (c *client) fetch(name string, options ...string) []byte {
	c.rrq(name, options...)
	return c.receive(name)
}

// receive takes the answer to a request, to its end.
func (c *client) receive(name string) []byte {
	const stall, most = 15 * time.Second, 2 * time.Minute
	began := time.Now()
	within := cmp.Or(c.within, stall)
	end := began.Add(within)
	var got bytes.Buffer
	blksize, window := 512, int64(1)
	base, acked := int64(0), int64(0) // last block in order, last one acknowledged
	gap := false                      // it was told of the gap that it waits to be filled
	c.packets, c.granted = 0, nil
	for {
		until := time.Now().Add(time.Second)
		if c.peer.IsValid() && until.After(end) {
			until = end
		}
		k, ok := c.recv(until)
		switch {
		case time.Now().After(end) && !c.peer.IsValid():
			c.failf("%s: no answer in %v", name, within)
		case time.Now().After(end):
			c.failf("%s: %d bytes came in %.0f s", name, got.Len(), time.Since(began).Seconds())
		case !ok && c.peer.IsValid():
			acked = base
			c.ack(base) // it or its answer was lost
			continue
		case !ok:
			c.send(c.asking) // likewise
			continue
		case k.op == opERROR:
			c.failf("%s: %v after %d bytes", name, k, got.Len())
		case !c.peer.IsValid() && (k.op == opOACK || k.op == opDATA && k.block == 1):
			c.peer = k.from
		case k.from != c.peer:
			continue // of an earlier transfer
		}
		if k.op == opOACK {
			if c.granted = k.options; base == 0 {
				blksize, window = c.number("blksize", 512), int64(c.number("windowsize", 1))
				c.ack(0)
			}
			continue
		}
		if c.packets++; c.lose != nil && c.lose(c.packets) {
			continue
		}
		if k.block != uint16(base+1) {
			// RFC 7440 section 4: one ACK a gap, for the last block in order.
			if window > 1 && int16(k.block-uint16(base)) > 0 && !gap {
				gap, acked = true, base
				c.ack(base)
			}
			continue
		}
		if len(k.data) > blksize {
			c.failf("%s: DATA of %d bytes, blksize is %d", name, len(k.data), blksize)
		}
		base, gap = base+1, false
		got.Write(k.data)
		if c.within == 0 {
			end = began.Add(min(time.Since(began)+stall, most))
		}
		last := len(k.data) < blksize
		if last || base == acked+window {
			if c.extra != nil {
				for _, n := range c.extra(base) {
					c.ack(n)
				}
			}
			acked = base
			c.ack(base)
		}
		if last {
			c.blocks = base
			return got.Bytes()
		}
	}
}

// number is an option that was granted.
func (c *client) number(name string, otherwise int) int {
	s, ok := c.granted[name]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		c.failf("granted is %s %q", name, s)
	}
	return n
}

// whole fetches a file of the test's and compares it.
func (c *client) whole(name string, options ...string) {
	c.same(name, c.fetch(name, options...), files[name])
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
