package conformance

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func whole(name string, options ...string) func(*probe) {
	return func(p *probe) { p.client().whole(name, options...) }
}

func modeCase(p *probe) {
	for _, mode := range []string{"OCTET", "oCtEt"} {
		c := p.client()
		c.mode = mode
		c.whole("small")
	}
	c := p.client()
	c.mode = "NetAscii"
	c.begin("lines", 1)
}

// netascii fetches a file of line ends of all kinds.
func netascii(options ...string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.mode = "netascii"
		want := bytes.ReplaceAll(files()["lines"], []byte("\r"), []byte("\r\x00"))
		want = bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
		c.same("lines", c.fetch("lines", options...), want)
	}
}

func refusedMode(mode string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.mode = mode
		if k := c.refused("small"); k.Block != 0 && k.Block != 4 {
			p.failf("%v", k)
		}
	}
}

func empty(options ...string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		if c.whole("empty", options...); c.download.Blocks() != 1 {
			p.failf("%d blocks", c.download.Blocks())
		}
	}
}

func exact(p *probe) {
	for _, t := range []struct {
		blocks  int64
		options []string
	}{{3, nil}, {2, []string{"blksize", "1024"}}, {129, []string{"blksize", "8"}}} {
		c := p.client()
		if c.whole("exact", t.options...); c.download.Blocks() != t.blocks {
			p.failf("%q: %d blocks, %d are right", t.options, c.download.Blocks(), t.blocks)
		}
	}
}

func rollover(options ...string) func(*probe) {
	return func(p *probe) {
		p.client().whole("rollover", options...)
	}
}

func lastAgain(p *probe) {
	c := p.client()
	c.begin("small", 2)
	c.silent = true
	for range 2 {
		c.data(2)
	}
	c.ack(2)
}

func endSilent(p *probe) {
	c := p.client()
	c.whole("small")
	c.expectOver(2500*time.Millisecond, "the last ACK", c.peer)
	// A copy of it may be told that there is no such transfer, not more.
	c.ack(2)
	if k, ok := c.recv(time.Now().Add(300 * time.Millisecond)); ok && k.Op != OpERROR {
		p.failf("%v comes after a copy of the last ACK", k)
	}
}

func clientError(p *probe) {
	for _, options := range [][]string{nil, {"blksize", "600"}} {
		c := p.client()
		c.begin("mib", 10, options...)
		c.sendError(0, "enough")
		c.expectOver(2500*time.Millisecond, "an ERROR", c.peer)
	}
}

// chatty acknowledges other blocks besides, before each one that is due. If
// each of those brought a block, as many again would come.
func chatty(extra func(n int64) []int64, options ...string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.extra = func(n int64) []int64 {
			if n < 12 {
				return nil
			}
			return extra(n)
		}
		c.whole("middle", options...)
		// Where time passes some are sent again.
		if blocks := len(files()["middle"])/512 + 1; c.packets > blocks*3/2 {
			p.latef("%d packets of DATA for %d blocks", c.packets, blocks)
		}
	}
}

// resends acknowledges 50 blocks quickly and then none. It returns the times
// between the copies of the next: n, or those of 8 s.
func (p *probe) resends(n int) (waits []time.Duration) {
	c := p.client()
	c.begin("mib", 50)
	c.ack(50)
	c.silent = true
	first := c.block(51).at
	for last := first; len(waits) < n && last.Sub(first) < 8*time.Second; {
		at := c.block(51).at
		waits = append(waits, at.Sub(last).Round(time.Millisecond))
		last = at
	}
	return waits
}

func fastRTO(p *probe) {
	if d := p.resends(1)[0]; d >= time.Second {
		p.latef("it takes %v", d)
	} else {
		p.note("%v", d)
	}
}

func backoff(p *probe) {
	if d := p.resends(6); d[len(d)-1] < 4*slices.Min(d) {
		p.latef("it waits %v", d)
	}
}

func lostOACK(p *probe) {
	c := p.client()
	c.silent = true
	c.rrq("small", "blksize", "600")
	c.oack()
	c.oack()
	c.silent = false
	c.ack(0)
	first := c.next("DATA 1")
	for first.Op == OpOACK { // one more that was on its way
		first = c.next("DATA 1")
	}
	if first.Op != OpDATA || first.Block != 1 || len(first.Data) != 600 {
		p.failf("%v", first)
	}
}

// stranger sends packets for a transfer that is not its own. They come from
// another port of the client's host, or from the same port of another host.
func stranger(otherHost bool) func(*probe) {
	return func(p *probe) {
		c := p.client()
		got := c.begin("middle", 5)
		var s *client
		if otherHost {
			p.bind = c.addr().Port()
			s = p.openBetween(near4b, Far4, "")
		} else {
			s = p.client()
		}
		s.peer = c.peer
		s.ack(5)
		if k := s.refusal("a stranger's ACK"); k.Block != 5 {
			p.failf("the stranger gets %v", k)
		}
		s.send(append(header(OpDATA, 6), "stranger"...))
		if k := s.refusal("a stranger's DATA"); k.Block != 5 {
			p.failf("the stranger gets %v", k)
		}
		s.sendError(0, "stranger")
		if k, ok := c.recv(time.Now().Add(time.Millisecond)); ok && (k.Op != OpDATA || k.Block != 5) {
			p.failf("after a stranger's packets the client gets %v", k)
		}
		for n := int64(5); len(got) == 512; n++ {
			c.same("block", got, files()["middle"][(n-1)*512:n*512])
			c.ack(n)
			got = c.data(n + 1)
		}
	}
}

func repeated(p *probe) {
	c := p.client()
	for range 3 {
		c.rrq("middle")
	}
	first := c.data(1)
	for until := time.Now().Add(300 * time.Millisecond); ; {
		k, ok := c.recv(until)
		if !ok {
			break
		}
		why := fmt.Sprintf("%v also comes, from port %d after %d", k, k.from.Port(), c.peer.Port())
		if k.from == c.peer && k.Op == OpDATA && k.Block == 1 {
			p.latef("%s", why) // a retransmission, or the answer to a copy
		}
		p.failf("%s", why)
	}
	c.same("block 1", first, files()["middle"][:512])
	c.ack(1)
	c.data(2)
}

func lateCopy(p *probe) {
	c := p.client()
	c.begin("middle", 5)
	to := c.peer
	c.ack(5)
	c.sendTo(c.asking, c.asked)
	c.data(6)
	for end := time.Now().Add(300 * time.Millisecond); ; {
		k, ok := c.recv(end)
		if !ok {
			return
		}
		if k.from != to || k.Op != OpDATA || k.Block > 6 {
			p.failf("%v comes, from port %d; the transfer's is %d", k, k.from.Port(), to.Port())
		}
	}
}

// afresh is a device that was reset in mid-transfer.
func afresh(name string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.begin("mib", 20)
		time.Sleep(700 * time.Millisecond)
		c.whole(name)
	}
}

// changing makes a file that a check may change, and gives its path. It goes
// with the check.
func (p *probe) changing(name string, data []byte) string {
	path := filepath.Join(p.Dir, name)
	p.closers = append(p.closers, func() { os.Remove(path) })
	if err := os.WriteFile(path, data, 0o644); err != nil {
		p.failf("the check cannot write: %v", err)
	}
	return path
}

func cut(p *probe) {
	name := "cut-" + p.Name
	path := p.changing(name, files()["mib"])
	c := p.client()
	got := bytes.Clone(c.begin(name, 1))
	for n := int64(1); ; n++ {
		if n == 10 {
			if err := os.Truncate(path, 200_000); err != nil {
				p.failf("the check cannot truncate: %v", err)
			}
		}
		c.ack(n)
		k := c.next("DATA")
		for k.Op == OpDATA && int16(uint16(n)-k.Block) >= 0 {
			k = c.next("DATA")
		}
		if k.Op == OpERROR {
			p.note("ERROR")
			return
		}
		if got = append(got, k.Data...); len(k.Data) < 512 {
			break
		}
	}
	c.same("the file", got, files()["mib"])
	p.note("whole")
}

// other is data of mib's size that differs everywhere.
func other() []byte {
	data := bytes.Clone(files()["mib"])
	for i := range data {
		data[i] ^= 0xff
	}
	return data
}

func replaced(p *probe) {
	name := "replaced-" + p.Name
	path := p.changing(name, files()["mib"])
	c := p.client()
	got := bytes.Clone(c.begin(name, 1))
	for n := int64(1); len(got) == int(n)*512; n++ {
		if n == 10 {
			if err := os.Rename(p.changing(name+".new", other()), path); err != nil {
				p.failf("the check cannot rename: %v", err)
			}
		}
		c.ack(n)
		got = append(got, c.data(n+1)...)
	}
	c.same("the first", got, files()["mib"])
	c = p.client()
	c.same("the second", c.fetch(name), other())
}

func overwritten(p *probe) {
	name := "overwritten-" + p.Name
	p.changing(name, files()["mib"])
	c := p.client()
	c.same("the first", c.fetch(name, "blksize", "1428"), files()["mib"])
	p.changing(name, other())
	c.same("the second", c.fetch(name, "blksize", "1428"), other())
}

func singlePort(p *probe) {
	for _, at := range [][2]netip.Addr{{Near4, Far4}, {Near4, far4b}, {near6, far6b}} {
		c := p.openBetween(at[0], at[1], "")
		if c.whole("middle", "blksize", "1024", "tsize", "0"); c.peer.Port() != c.asked.Port() {
			p.failf("answers come from port %d", c.peer.Port())
		}
		if c.whole("small"); c.peer.Port() != c.asked.Port() {
			p.failf("without options answers come from port %d", c.peer.Port())
		}
	}
}

func interleaved(p *probe) {
	a, b := p.client(), p.client()
	a.begin("mib", 1)
	b.begin("middle", 1)
	for n := int64(1); n < 100; n++ {
		a.ack(n)
		b.ack(n)
		a.same("mib", a.data(n+1), files()["mib"][n*512:(n+1)*512])
		b.same("middle", b.data(n+1), files()["middle"][n*512:(n+1)*512])
	}
}
