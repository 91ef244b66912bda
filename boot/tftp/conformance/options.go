package conformance

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ask returns what a server grants. That is nil where it answers with DATA 1 in
// blocks of 512, or with ERROR 8.
func (c *client) ask(name string, options ...string) map[string]string {
	c.rrq(name, options...)
	switch k := c.next("an OACK or DATA 1"); {
	case k.Op == OpOACK:
		return k.Options
	case k.Op == OpDATA && k.Block == 1 && len(k.Data) <= 512, k.Op == OpERROR && k.Block == 8:
		return nil
	default:
		c.failf("%q: answered with %v", options, k)
		return nil
	}
}

// granted asks for an option alone and gets it as asked, and nothing else.
func granted(name, value string) func(*probe) {
	return func(p *probe) {
		c := p.client()
		got := c.ask("small", name, value)
		if got[name] != value || len(got) != 1 {
			p.failf("asked was %s %s, granted is %v", name, value, Packet{Op: OpOACK, Options: got})
		}
		p.client().whole("small", name, value)
	}
}

// legal reports whether a server may grant a value.
func legal(name, asked, granted string) bool {
	a, err := strconv.ParseUint(asked, 10, 64)
	g, err2 := strconv.ParseUint(granted, 10, 64)
	if err != nil || err2 != nil {
		return false
	}
	switch name {
	case "blksize":
		return 8 <= g && g <= min(a, 65464)
	case "timeout":
		return 1 <= g && g <= 255 && g == a
	case "windowsize":
		return 1 <= g && g <= min(a, 65535)
	}
	return name == "tsize"
}

// neverGranted asks for values that are out of range. What may be granted in
// part is.
func neverGranted(name string, values ...string) func(*probe) {
	return func(p *probe) {
		for _, value := range values {
			got := p.client().ask("small", name, value)
			if g, ok := got[name]; ok && !legal(name, value, g) {
				p.failf("asked was %s %s, granted is %s", name, value, g)
			}
		}
	}
}

func noNumber(p *probe) {
	for _, name := range []string{"blksize", "timeout", "windowsize"} {
		for _, value := range []string{"", "many", "-1024", "0x200", "12.5", "99999999999999999999", "8 "} {
			if g, ok := p.client().ask("small", name, value)[name]; ok && g != "" {
				p.failf("asked was %s %q, granted is %q", name, value, g)
			}
		}
	}
}

func noOptions(p *probe) {
	c := p.client()
	if data := c.begin("mib", 1); len(data) != 512 {
		p.failf("%v", Packet{Op: OpDATA, Block: 1, Data: data})
	}
	c.ack(1)
	c.same("block 2", c.data(2), files()["mib"][512:1024])
}

func clamped(near, far netip.Addr, most int) func(*probe) {
	return func(p *probe) {
		c := p.openBetween(near, far, "")
		c.whole("middle", "blksize", "65464")
		if n := c.number("blksize", 512); n > most {
			p.failf("granted is %d, %d fit", n, most)
		} else {
			p.note("%d", n)
		}
		// What is asked for and fits is granted as asked.
		if got := p.openBetween(near, far, "").ask("small", "blksize", strconv.Itoa(most))["blksize"]; got != strconv.Itoa(most) {
			p.failf("asked was %d, which fits, granted is %q", most, got)
		}
	}
}

func localBlksize(p *probe) {
	c := p.openBetween(local4, local4, "")
	c.whole("mib", "blksize", "65464")
	if c.download.Granted["blksize"] != "65464" {
		p.failf("granted is %v", Packet{Op: OpOACK, Options: c.download.Granted})
	}
}

func tsize(p *probe) {
	for _, name := range []string{"mib", "small", "empty"} {
		if got := p.client().ask(name, "tsize", "0")["tsize"]; got != strconv.Itoa(len(files()[name])) {
			p.failf("%s of %d bytes: tsize %q", name, len(files()[name]), got)
		}
	}
}

func tsizeHuge(p *probe) {
	if got := p.client().ask("huge", "tsize", "0")["tsize"]; got != strconv.Itoa(huge) {
		p.failf("%d bytes: tsize %q", huge, got)
	}
}

// sizeProbe does as EDK2 does.
func sizeProbe(p *probe) {
	c := p.client()
	c.rrq("small", "tsize", "0", "blksize", "1428")
	c.oack()
	first := c.peer
	c.sendError(8, "User aborted the transfer")
	c.whole("small", "tsize", "0", "blksize", "1428")
	c.expectOver(2500*time.Millisecond, "the probe's ERROR and the transfer's end", first, c.peer)
}

// timeoutHonoured asks for 2 s. That is neither a server's default, nor what it
// would measure.
func timeoutHonoured(p *probe) {
	c := p.client()
	c.rrq("mib", "timeout", "2")
	if c.oack()["timeout"] != "2" {
		p.failf("it is not granted")
	}
	c.ack(0)
	for i := int64(1); i < 20; i++ {
		c.data(i)
		c.ack(i)
	}
	last := c.block(20).at
	c.silent = true
	for i := range 2 {
		at := c.block(20).at
		d := at.Sub(last).Seconds()
		last = at
		// The second may be later: some servers double it.
		if p.note("%.1f s", d); d < 1.5 || i == 0 && d > 3.5 {
			p.latef("asked were 2 s, it sends again after %.2f s", d)
		}
	}
}

func sorted(options map[string]string) []string { return slices.Sorted(maps.Keys(options)) }

func optionCase(p *probe) {
	lower := []string{"blksize", "1024", "tsize", "0", "timeout", "3", "windowsize", "4"}
	var mixed []string
	for i, s := range lower {
		mixed = append(mixed, strings.ToUpper(s[:1+i%3%len(s)])+s[1+i%3%len(s):])
	}
	want, got := p.client().ask("small", lower...), p.client().ask("small", mixed...)
	if !slices.Equal(sorted(want), sorted(got)) || len(got) == 0 {
		p.failf("granted of %q is %v, of %q %v", lower, sorted(want), mixed, sorted(got))
	}
}

func unknownOption(p *probe) {
	got := p.client().ask("small", "frobnicate", "7", "blksize", "1024", "utter", "9", "tsize", "0")
	if !slices.Equal(sorted(got), []string{"blksize", "tsize"}) {
		p.failf("granted is %v", Packet{Op: OpOACK, Options: got})
	}
}

func unknownAlone(p *probe) {
	c := p.client()
	c.rrq("small", "frobnicate", "7")
	c.data(1)
}

func onlyAsked(p *probe) {
	var all []string
	for _, o := range [][]string{{"blksize", "1024"}, {"tsize", "0"}, {"timeout", "3"}, {"windowsize", "4"}} {
		got := p.client().ask("small", o...)
		delete(got, o[0])
		if len(got) > 0 {
			p.failf("asked was %s, granted also %v", o[0], sorted(got))
		}
		all = append(all, o...)
	}
	got := p.client().ask("small", all...)
	for i := 0; i < len(all); i += 2 {
		if g, ok := got[all[i]]; ok && all[i] != "tsize" && !legal(all[i], all[i+1], g) {
			p.failf("asked was %s %s, granted is %s", all[i], all[i+1], g)
		}
		delete(got, all[i])
	}
	if len(got) > 0 {
		p.failf("granted also %v", sorted(got))
	}
}

// twice has Parse look for an option that is there twice.
func twice(p *probe) { p.client().ask("mib", "blksize", "600", "BLKSIZE", "700") }

func longRequest(p *probe) {
	req := request(OpRRQ, "small", "octet", "blksize", "1024", "filler", "")
	filler := strings.Repeat("x", 512-len(req))
	c := p.client()
	if got := c.ask("small", "blksize", "1024", "filler", filler); got["blksize"] != "1024" {
		p.failf("granted is %v", Packet{Op: OpOACK, Options: got})
	}
	c.whole("small", "filler", filler, "blksize", "1024")
}
