package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
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
			if k.op != opERROR || n > 0 {
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
	time.Sleep(200 * time.Millisecond)
	p.client().whole("small")
}

func orphans(p *probe) {
	for _, packet := range [][]byte{header(opACK, 0), header(opACK, 7), header(opDATA, 1), append(header(opOACK, 0)[:2], "tsize\x000\x00"...)} {
		c := p.client()
		c.send(packet)
		end := time.Now().Add(200 * time.Millisecond)
		for n := 0; ; n++ {
			k, ok := c.recv(end)
			if !ok {
				break
			}
			if n > 0 || k.op != opERROR || k.block != 0 && k.block != 4 && k.block != 5 {
				p.failf("opcode %d: %v", packet[1], k)
			}
		}
	}
}

func errorUnanswered(p *probe) {
	c := p.client()
	c.error(0, "hello")
	c.error(5, "unknown transfer ID")
	c.send(header(opERROR, 4))
	c.silent(300*time.Millisecond, "an ERROR to port 69")
	c.begin("mib", 3)
	s := p.client()
	s.peer = c.peer
	s.error(0, "hello")
	s.silent(300*time.Millisecond, "a stranger's ERROR to a transfer's port")
}

// neverAnswers is a stranger whose address may be made up: what goes there may
// be a flood for someone else.
func neverAnswers(options ...string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		c.rrq("mib", options...)
		first := c.next("an answer")
		if (first.op != opDATA || first.block != 1) && (len(options) == 0 || first.op != opOACK) {
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
			p.failf("%d packets in 17 s, again after %v, %d bytes for %d", 1+len(again), again, c.received, c.sent)
		case len(again) == 0 || again[0] > 2*time.Second:
			p.failf("it sends again after %v", again)
		}
		p.note("again after %v, %d bytes for %d", again, c.received, c.sent)
	}
}

func fiftyOthers(p *probe) {
	var others []*client
	for range 50 {
		c := p.client()
		c.begin("middle", 3)
		others = append(others, c)
	}
	p.client().whole("mib", "blksize", "1428")
	for _, c := range others {
		last := false
		for n := int64(3); !last; n++ {
			c.ack(n)
			data := c.data(n + 1)
			c.same("middle", data, files["middle"][n*512:min(int(n+1)*512, len(files["middle"]))])
			last = len(data) < 512
		}
	}
}

// closedSilently has the clients' ports say nothing once they are closed, as
// behind a firewall.
func (p *probe) closedSilently() {
	out, err := p.near.Command(p.t, nettest.Need(p.t, "nft"), filterTable+"add rule inet t o icmp type destination-unreachable drop").CombinedOutput()
	if err != nil {
		p.failf("the test cannot drop ICMP: %v: %s", err, out)
	}
}

// flood leaves requests half open, each from a port of its own.
func flood(p *probe) {
	p.closedSilently()
	requests := 6000
	if p.name == "tftpd-hpa" || p.name == "atftpd" {
		requests = 300 // each is a process or a thread, which the other tests would feel
		p.note("after %d", requests)
	}
	for i := range requests {
		p.bind = uint16(10_000 + i)
		c := p.client()
		c.rrq("mib", "blksize", "1428")
		c.conn.Close()
	}
	p.bind = 0
	began := time.Now()
	c := p.client()
	c.within = 15 * time.Second
	c.whole("mib", "blksize", "1428")
	p.note("in %d ms", time.Since(began).Milliseconds())
}

// limits begins transfers of one address until one is refused. Their clients
// have acknowledged a block, and then say no more.
func limits(p *probe) {
	if p.name == "tftpd-hpa" {
		p.dash("it has no limit")
	}
	p.closedSilently()
	first := p.client()
	first.begin("mib", 3)
	for n := 1; n < 10_000; n++ {
		p.bind = uint16(10_000 + n)
		c := p.client()
		c.rrq("mib")
		k, ok := c.recv(time.Now().Add(2 * time.Second))
		c.peer = k.from
		switch {
		case !ok:
			p.failf("with %d under way a request gets no answer", n)
		case k.op == opERROR && n < 4000:
			p.failf("with %d under way: %v", n, k)
		case k.op == opERROR && k.text == "":
			p.failf("with %d under way an ERROR %d without text", n, k.block)
		case k.op == opERROR:
			p.note("%d, then %v", n, k)
			first.ack(3)
			first.data(4)
			return
		}
		c.ack(1)
		c.conn.Close()
	}
	p.failf("10,000 are under way, and none is refused")
}

// put uploads data, each block so many times.
func (c *client) put(name string, data []byte, copies int, options ...string) {
	c.peer = netip.AddrPort{}
	c.send(request(opWRQ, name, "octet", options...))
	blksize := 512
	switch k := c.next("ACK 0"); {
	case k.op == opOACK && len(options) > 0:
		c.granted = k.options
		blksize = c.number("blksize", 512)
	case k.op != opACK || k.block != 0:
		c.failf("an upload of %s is answered with %v", name, k)
	}
	for n := uint16(1); ; n++ {
		block := data[:min(blksize, len(data))]
		for range copies {
			c.send(append(header(opDATA, n), block...))
		}
		for {
			k := c.next("an ACK")
			if k.op == opACK && k.block == n {
				break
			}
			if k.op != opACK || int16(k.block-n) > 0 {
				c.failf("DATA %d is answered with %v", n, k)
			}
		}
		if data = data[len(block):]; len(block) < blksize {
			return
		}
	}
}

// stored waits until a file holds data: a server may write after its last ACK.
func (p *probe) stored(name string, data []byte) {
	var got []byte
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, _ = os.ReadFile(filepath.Join(p.root, name)); bytes.Equal(got, data) {
			return
		}
	}
	p.failf("%s: %d bytes were sent, the %d that are stored differ", name, len(data), len(got))
}

func uploads(options ...string) func(*probe) {
	return func(p *probe) {
		sizes := []int{0, 1, 512, 1536, 3000}
		name := "up"
		if len(options) > 0 {
			sizes, name = sizes[4:], "options" // the size that they say
		}
		for _, n := range sizes {
			c, name := p.client(), name+string(rune('a'+n%26))
			c.put(name, files["mib"][:n], 1, options...)
			if len(c.granted) != len(options)/2 {
				p.failf("granted is %v", sorted(c.granted))
			}
			p.stored(name, files["mib"][:n])
		}
	}
}

func uploadFrom(near netip.Addr, far ...netip.Addr) func(*probe) {
	return func(p *probe) {
		for _, a := range far {
			name := "to-" + a.String()
			p.open(near, a, "").put(name, files["small"], 1)
			p.stored(name, files["small"])
		}
	}
}

func uploadTwice(p *probe) {
	p.client().put("twice", files["middle"], 2)
	p.stored("twice", files["middle"])
}

func uploadExists(p *probe) {
	path := filepath.Join(p.root, "there")
	err := os.WriteFile(path, []byte("old"), 0o666)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		p.failf("the test cannot write: %v", err)
	}
	c := p.client()
	c.send(request(opWRQ, "there", "octet"))
	if k := c.refusal("an upload of a file that is there"); k.block != 6 {
		p.failf("%v", k)
	}
	p.stored("there", []byte("old"))
}
