package conformance

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// put uploads data, each block so many times.
func (c *client) put(name string, data []byte, copies int, options ...string) (granted map[string]string) {
	os.Remove(filepath.Join(c.Dir, name)) // of an earlier run
	c.startTransfer(request(OpWRQ, name, "octet", options...))
	blksize := DefaultBlksize
	switch k := c.next("ACK 0"); {
	case k.Op == OpOACK && len(options) > 0:
		granted = k.Options
		if s, ok := granted["blksize"]; ok {
			var err error
			if blksize, err = strconv.Atoi(s); err != nil {
				c.failf("granted is blksize %q", s)
			}
		}
	case k.Op != OpACK || k.Block != 0:
		c.failf("an upload of %s is answered with %v", name, k)
	}
	for n := uint16(1); ; n++ {
		block := data[:min(blksize, len(data))]
		for range copies {
			c.send(append(header(OpDATA, n), block...))
		}
		for {
			k := c.next("an ACK")
			if k.Op == OpACK && k.Block == n {
				break
			}
			again := k.Op == OpOACK && n == 1
			if !again && (k.Op != OpACK || int16(k.Block-n) > 0) {
				c.failf("DATA %d is answered with %v", n, k)
			}
		}
		if data = data[len(block):]; len(block) < blksize {
			return granted
		}
	}
}

// stored waits until a file holds data: a server may write after its last ACK.
func (p *probe) stored(name string, data []byte) {
	var got []byte
	for end := time.Now().Add(p.guards().packet); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, _ = os.ReadFile(filepath.Join(p.Dir, name)); bytes.Equal(got, data) {
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
			name := name + string(rune('a'+n%26))
			granted := p.client().put(name, files()["mib"][:n], 1, options...)
			if len(granted) != len(options)/2 {
				p.failf("granted is %v", sorted(granted))
			}
			p.stored(name, files()["mib"][:n])
		}
	}
}

func uploadFrom(near netip.Addr, far ...netip.Addr) func(*probe) {
	return func(p *probe) {
		for _, a := range far {
			name := "to-" + a.String()
			p.openBetween(near, a, "").put(name, files()["small"], 1)
			p.stored(name, files()["small"])
		}
	}
}

func uploadTwice(p *probe) {
	p.client().put("twice", files()["middle"], 2)
	p.stored("twice", files()["middle"])
}

func uploadExists(p *probe) {
	path := filepath.Join(p.Dir, "there")
	err := os.WriteFile(path, []byte("old"), 0o666)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		p.failf("the check cannot write: %v", err)
	}
	c := p.client()
	c.startTransfer(request(OpWRQ, "there", "octet"))
	if k := c.refusal("an upload of a file that is there"); k.Block != 6 {
		p.failf("%v", k)
	}
	p.stored("there", []byte("old"))
}
