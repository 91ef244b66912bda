package conformance

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// from asks two addresses of one link. A server cannot take both for its own.
// recv looks where each packet comes from.
func from(near netip.Addr, far ...netip.Addr) func(*probe) {
	return func(p *probe) {
		for _, a := range far {
			p.openBetween(near, a, "").whole("small")
		}
	}
}

func linkLocal(link int) func(*probe) {
	return func(p *probe) {
		zone := p.Cables.Zones[link]
		p.openBetween(nearLink.WithZone(zone), farLink.WithZone(zone), "").whole("small")
	}
}

// secondLink asks over a link whose subnet is the first's. The server's route
// to the client leads to the first.
func secondLink(p *probe) {
	p.openBetween(near4second, far4second, "eth1").whole("middle", "blksize", "1024")
}

func refusalFrom(near netip.Addr, far ...netip.Addr) func(*probe) {
	return func(p *probe) {
		for _, a := range far {
			p.openBetween(near, a, "").refused("none")
		}
	}
}

func ownPort(p *probe) {
	c := p.client()
	if c.begin("small", 1); c.peer.Port() == c.asked.Port() {
		p.failf("DATA comes from port %d, of requests", c.asked.Port())
	}
}

func broadcast(p *probe) {
	for _, to := range []netip.Addr{netip.MustParseAddr("10.9.0.255"), netip.MustParseAddr("255.255.255.255")} {
		c := p.openBetween(Near4, to, "eth0")
		c.rrq("small")
		c.expectNothing(600*time.Millisecond, "a request to "+to.String())
	}
	c := p.openBetween(nearLink.WithZone(p.Cables.Zones[0]), netip.MustParseAddr("ff02::1").WithZone(p.Cables.Zones[0]), "")
	c.rrq("small")
	c.expectNothing(600*time.Millisecond, "a request to ff02::1")
}

// refused asks for what must not be served.
func (c *client) refused(name string, options ...string) received {
	c.rrq(name, options...)
	return c.refusal(name)
}

func names(list ...string) func(*probe) {
	return func(p *probe) {
		for _, name := range list {
			c := p.client()
			plain := strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/")
			c.same(name, c.fetch(name), files()[strings.ReplaceAll(plain, "//", "/")])
		}
	}
}

func refusedNames(list ...string) func(*probe) {
	return func(p *probe) {
		for _, name := range list {
			if k := p.client().refused(name); k.Block > 2 {
				p.failf("%s: %v", name, k)
			}
		}
	}
}

func hostPath(p *probe) {
	for _, name := range []string{filepath.Join(filepath.Dir(p.Dir), "secret"), "/etc/passwd", "etc/passwd"} {
		p.client().refused(name)
	}
}

func pipe(p *probe) {
	c := p.client()
	c.refused("pipe")
	p.client().whole("small")
}

func missing(options ...string) func(*probe) {
	return func(p *probe) {
		for _, name := range []string{"none", "dir/none", "none/none"} {
			if k := p.client().refused(name, options...); k.Block != 1 {
				p.failf("%s: %v", name, k)
			}
		}
	}
}

func uploadsOff(p *probe) {
	var codes []uint16
	for _, name := range []string{"new", "small"} {
		c := p.client()
		c.startTransfer(request(OpWRQ, name, "octet"))
		codes = append(codes, c.refusal("an upload of "+name).Block)
	}
	if codes[0] != 2 || codes[1] != 2 {
		p.failf("ERROR %d for a new file, %d for one that is there", codes[0], codes[1])
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "new")); err == nil {
		p.failf("a file was made")
	}
}

func plainTexts(p *probe) {
	refuse := func(what string, packet []byte) {
		c := p.client()
		c.startTransfer(packet)
		text := c.refusal(what).Text
		if text == "" {
			p.failf("%s: no text", what)
		}
		for _, r := range text {
			if r < ' ' || r > '~' {
				p.failf("%s: text %q is not plain ASCII", what, text)
			}
		}
		if host := filepath.Dir(p.Dir); strings.Contains(text, host) {
			p.failf("%s: text %q", what, strings.ReplaceAll(text, host, "/HOST/PATH"))
		}
	}
	for _, name := range []string{"none", "dir", "dir/none", "../secret", "link-out"} {
		refuse(name, request(OpRRQ, name, "octet"))
	}
	refuse("an upload", request(OpWRQ, "small", "octet"))
}

func errorOnce(p *probe) {
	c := p.client()
	c.refused("none")
	k, ok := c.recv(time.Now().Add(3 * time.Second))
	switch {
	case ok && c.repeats > 0:
		p.latef("%v comes again; so was the request sent", k)
	case ok:
		p.failf("%v comes after an ERROR", k)
	}
}
