package conformance

import (
	"strconv"
	"time"
)

// windowed puts a dash where a server does not know windowsize. The checks
// that it is for are timed: a window may lose a block on the way.
func windowed(check func(*probe)) func(*probe) {
	return timed(func(p *probe) {
		if p.client().ask("small", "windowsize", "4")["windowsize"] == "" {
			p.dash("windowsize is not granted")
		}
		check(p)
	})
}

// burst reads the w blocks after block n, and gives the first of them that
// comes. Those after it are in order. Some may come again: time may have passed.
func (c *client) burst(n int64, w int) (first int64) {
	end := time.Now().Add(c.guards().packet)
	for last := n; last < n+int64(w); {
		k, ok := c.recv(end)
		switch {
		case !ok:
			c.latef("%d blocks of a window of %d came, from %d", last-n, w, n+1)
		case !c.peer.IsValid():
			c.peer = k.from
		}
		if c.oackAgain(k, n) {
			continue
		}
		if k.Op != OpDATA || k.from != c.peer {
			c.failf("%v in a window from %d", k, n+1)
		}
		at := n + int64(int16(k.Block-uint16(n)))
		switch {
		case at <= n:
		case first == 0:
			first, last = at, at
		case at == last+1:
			last = at
		case at > last:
			c.latef("block %d comes after %d", at, last)
		}
	}
	return first
}

// window asks for one of w blocks and reads the blocks before n, which begins one.
func (p *probe) window(w int, n int64) *client {
	c := p.client()
	c.rrq("mib", "windowsize", strconv.Itoa(w))
	if got := c.oack()["windowsize"]; got != strconv.Itoa(w) {
		p.failf("asked was windowsize %d, granted is %q", w, got)
	}
	c.ack(0)
	for at := int64(0); at < n-1; at += int64(w) {
		if first := c.burst(at, w); first != at+1 {
			p.latef("a window begins with block %d, due is %d", first, at+1)
		}
		c.ack(at + int64(w))
	}
	return c
}

func window(p *probe) {
	for _, w := range []int{2, 5, 16} {
		c := p.window(w, 1)
		c.burst(0, w)
		// Sent again, perhaps; never more.
		for end := time.Now().Add(200 * time.Millisecond); ; {
			k, ok := c.recv(end)
			if !ok {
				break
			}
			if !c.oackAgain(k, 0) && (k.Op != OpDATA || int(k.Block) > w) {
				p.failf("%v without an ACK, the window is %d", k, w)
			}
		}
	}
}

func widestWindow(p *probe) {
	c := p.client()
	got := c.ask("mib", "windowsize", "65535")["windowsize"]
	if !legal("windowsize", "65535", got) {
		p.failf("granted is %q", got)
	}
	p.note("%s", got)
	p.client().whole("mib", "windowsize", "65535", "blksize", "1428")
}

func windowOne(p *probe) {
	c := p.client()
	c.begin("mib", 5, "windowsize", "1")
	if k, ok := c.recv(time.Now().Add(200 * time.Millisecond)); ok && k.Block != 5 {
		p.failf("%v comes before DATA 5 was acknowledged", k)
	}
	c.whole("small", "windowsize", "1")
}

// gap loses block 12 of a window of 8 from block 9 on.
func gap(p *probe) {
	c := p.window(8, 9)
	c.burst(8, 8)
	c.ack(11)
	asked := time.Now()
	// What was on its way comes first.
	for {
		k := c.next("DATA 12")
		if k.Op != OpDATA || k.Block > 19 {
			p.failf("%v after ACK 11", k)
		}
		if k.Block == 12 {
			break
		}
		if k.Block > 16 {
			p.failf("%v after ACK 11; DATA 12 was due", k)
		}
	}
	d := time.Since(asked)
	if p.note("%d ms", d.Milliseconds()); d > time.Second {
		p.latef("DATA 12 comes %.1f s after ACK 11", d.Seconds())
	}
	// Its end is 8 blocks from there, and an ACK of that brings the next.
	c.burst(11, 8)
	c.ack(19)
	c.burst(19, 8)
}

func firstLost(p *probe) {
	c := p.window(8, 9)
	c.burst(8, 8)
	c.ack(8)
	asked := time.Now()
	if first := c.burst(8, 8); first != 9 {
		p.latef("block %d comes after a second ACK 8", first)
	}
	d := time.Since(asked)
	if p.note("%d ms", d.Milliseconds()); d > 2*time.Second {
		p.latef("it comes %.1f s later", d.Seconds())
	}
	c.ack(16)
	c.burst(16, 8)
}

func silentWindow(p *probe) {
	c := p.window(8, 9)
	c.burst(8, 8)
	if first := c.burst(8, 8); first != 9 {
		p.latef("after silence block %d comes", first)
	}
}

func lossy(p *probe) {
	c := p.client()
	c.within = 10 * time.Second
	c.lose = func(n int) bool { return n%50 == 49 }
	began := time.Now()
	c.whole("mib", "windowsize", "16", "blksize", "1428")
	p.note("%.1f s", time.Since(began).Seconds())
}
