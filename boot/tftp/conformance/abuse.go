package conformance

import (
	"strings"
	"time"
)

func malformed(p *probe) {
	for what, packet := range map[string]string{
		"an empty packet":            "",
		"one byte":                   "\x00",
		"an opcode alone":            "\x00\x01",
		"opcode 0":                   "\x00\x00small\x00octet\x00",
		"opcode 9":                   "\x00\x09small\x00octet\x00",
		"opcode 0xffff":              "\xff\xff\xff\xff",
		"no NUL":                     "\x00\x01small",
		"no mode":                    "\x00\x01small\x00",
		"no name":                    "\x00\x01\x00octet\x00",
		"no name, no mode":           "\x00\x01\x00\x00",
		"an upload without mode":     "\x00\x02small\x00",
		"a name of 1,400 bytes":      "\x00\x01" + strings.Repeat("a/", 700) + "\x00octet\x00",
		"a request of 60,000 bytes":  "\x00\x01" + strings.Repeat("x", 60_000) + "\x00octet\x00",
		"a mode of 1,400 bytes":      "\x00\x01small\x00" + strings.Repeat("o", 1400) + "\x00",
		"a name that is not UTF-8":   "\x00\x01\xff\xfe\x80\x00octet\x00",
		"a name with a line end":     "\x00\x01small\r\n\x00octet\x00",
		"conversions in a name":      "\x00\x01%s%n%n%n%1$s\x00octet\x00",
		"1,400 bytes that are zero":  strings.Repeat("\x00", 1400),
		"1,400 bytes that are 0xff":  strings.Repeat("\xff", 1400),
		"an ACK of three bytes":      "\x00\x04\x00",
		"DATA without its number":    "\x00\x03",
		"an ERROR without its text":  "\x00\x05\x00\x01",
		"a request within a request": "\x00\x01\x00\x01small\x00octet\x00",
	} {
		c := p.client()
		c.send([]byte(packet))
		end := time.Now().Add(100 * time.Millisecond)
		for n := 0; ; n++ {
			k, ok := c.recv(end)
			if !ok {
				break
			}
			if k.Op != OpERROR || n > 0 {
				p.failf("%s: %v", what, k)
			}
		}
	}
	// These may be served, or refused.
	for _, packet := range []string{
		"\x00\x01small\x00octet",
		"\x00\x01small\x00octet\x00blksize\x00",
		"\x00\x01small\x00octet\x00blksize\x001024",
		"\x00\x01small\x00octet\x00blksize",
		"\x00\x01small\x00octet\x00\x00\x00\x00",
		"\x00\x01small\x00octet\x00" + strings.Repeat("a\x00b\x00", 200),
		"\x00\x01small\x00octet\x00" + strings.Repeat("blksize\x001024\x00", 30),
	} {
		c := p.client()
		c.send([]byte(packet))
	}
	// And a client may send anything in mid-transfer: it harms nobody else.
	for _, packet := range []string{"", "\x00", "\x00\x04", "\x00\x04\x00", "\x00\x00\x00\x00", "\x00\x09", "\x00\x06blksize", "\x00\x03\x00\x01data",
		"\x00\x05", "\x00\x05\x00", strings.Repeat("\xff", 1400), strings.Repeat("\x00\x04", 10_000)} {
		c := p.client()
		c.begin("mib", 3, "blksize", "600")
		c.send([]byte(packet))
	}
	p.client().whole("small")
	p.client().expectNothing(200*time.Millisecond, "no request") // time to meet the last of them
	p.client().whole("small")
}

func orphans(p *probe) {
	for _, packet := range [][]byte{header(OpACK, 0), header(OpACK, 7), header(OpDATA, 1), append(header(OpOACK, 0)[:2], "tsize\x000\x00"...)} {
		c := p.client()
		c.send(packet)
		end := time.Now().Add(200 * time.Millisecond)
		for n := 0; ; n++ {
			k, ok := c.recv(end)
			if !ok {
				break
			}
			if n > 0 || k.Op != OpERROR || k.Block != 0 && k.Block != 4 && k.Block != 5 {
				p.failf("opcode %d: %v", packet[1], k)
			}
		}
	}
}

func errorUnanswered(p *probe) {
	c := p.client()
	c.sendError(0, "hello")
	c.sendError(5, "unknown transfer ID")
	c.send(header(OpERROR, 4))
	c.expectNothing(300*time.Millisecond, "an ERROR to port 69")
	c.begin("mib", 3)
	s := p.client()
	s.peer = c.peer
	s.sendError(0, "hello")
	s.expectNothing(300*time.Millisecond, "a stranger's ERROR to a transfer's port")
}

// neverAnswers asks and says no more. Such a client may be a stranger's address
// that somebody made up. What goes there may be a flood for its owner.
func neverAnswers(options ...string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.silent = true
		c.rrq("mib", options...)
		first := c.next("an answer")
		if (first.Op != OpDATA || first.Block != 1) && (len(options) == 0 || first.Op != OpOACK) {
			p.failf("%v", first)
		}
		var again []time.Duration
		for end := time.Now().Add(17 * time.Second); ; {
			k, ok := c.recv(end)
			if !ok {
				break
			}
			if k.String() != first.String() {
				p.failf("%v, then %v", first, k)
			}
			again = append(again, k.at.Sub(first.at).Round(100*time.Millisecond))
		}
		switch {
		case len(again) > 3:
			p.failf("%d packets in 17 s, again after %v, %d bytes for %d", 1+len(again), again, c.got, c.sent)
		case len(again) == 0 || again[0] > 2*time.Second:
			p.latef("it sends again after %v", again)
		}
		p.note("again after %v, %d bytes for %d", again, c.got, c.sent)
	}
}

// mayGiveUp is how long a client may be silent until the server may end its
// transfer.
const mayGiveUp = 30 * time.Second

// fiftyOthers has transfers go on beside one that is fetched whole.
func fiftyOthers(p *probe) {
	const others = 50
	began := time.Now()
	var waiting []*client
	for range others {
		c := p.client()
		c.begin("middle", 3)
		waiting = append(waiting, c)
	}
	p.client().whole("mib", "blksize", "1428")
	if d := time.Since(began); d > mayGiveUp {
		p.latef("%d clients were silent for %.0f s", others, d.Seconds())
	}
	// All go on in turns, so that none is silent for long.
	middle := files()["middle"]
	for n := int64(3); len(waiting) > 0; n++ {
		for _, c := range waiting {
			c.ack(n)
		}
		for _, c := range waiting {
			c.same("middle", c.data(n+1), middle[n*512:min(int(n+1)*512, len(middle))])
		}
		if int(n+1)*512 > len(middle) {
			for _, c := range waiting {
				c.ack(n + 1)
			}
			return
		}
	}
}

// leave ends a client without a word. Its port says nothing from then on, as
// behind a firewall.
func (c *client) leave() {
	if c.Cables != nil { // where closed ports say nothing
		c.conn.Close()
	}
}

// manyClients has the following clients come from ports that differ, and has
// closed ones say nothing.
func (p *probe) manyClients() (port func(i int) uint16) {
	if p.Cables == nil {
		return func(int) uint16 { return 0 } // they stay open, so all differ
	}
	if err := p.Cables.DropICMP(); err != nil {
		p.failf("the check cannot drop ICMP: %v", err)
	}
	return func(i int) uint16 { return uint16(10_000 + i) }
}

// flood leaves requests half open, each from a port of its own.
func flood(p *probe) {
	port := p.manyClients()
	requests := 6000
	if p.Forks {
		requests = 300 // the other checks would feel more
		p.note("after %d", requests)
	}
	for i := range requests {
		p.bind = port(i)
		c := p.client()
		c.rrq("mib", "blksize", "1428")
		c.leave()
	}
	p.bind = 0
	began := time.Now()
	c := p.client()
	c.within = 15 * time.Second
	c.whole("mib", "blksize", "1428")
	p.note("in %d ms", time.Since(began).Milliseconds())
}

// limits begins transfers of one address until one is refused. Their clients
// have acknowledged a block, and then say no more. Only the first goes on.
func limits(p *probe) {
	if p.NoLimit {
		p.dash("it has no limit")
	}
	port := p.manyClients()
	began := time.Now()
	first := p.client()
	first.begin("mib", 3)
	next := int64(3)
	goOn := func() {
		first.ack(next)
		next++
		first.data(next)
	}
	for n := 1; n < 10_000; n++ {
		p.bind = port(n)
		c := p.client()
		c.rrq("mib")
		k, ok := c.await()
		switch {
		case !ok:
			p.failf("with %d under way a request gets no answer", n)
		case k.Op == OpERROR && n < 4000:
			p.failf("with %d under way: %v", n, k)
		case k.Op == OpERROR && k.Text == "":
			p.failf("with %d under way an ERROR %d without text", n, k.Block)
		case k.Op == OpERROR:
			p.note("%d, then %v", n, k.Packet)
			goOn()
			return
		}
		c.ack(1)
		c.leave()
		if n%100 == 0 {
			goOn()
		}
	}
	if d := time.Since(began); d > mayGiveUp {
		p.latef("to begin 10,000 took %.0f s: the first are over", d.Seconds())
	}
	p.failf("10,000 are under way, and none is refused")
}
