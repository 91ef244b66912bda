//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A client is one download: what came is compared with the content that the
// file is known to have. It behaves as the plain ones in firmware do: an ACK
// for the last block of a window, one ACK for a gap (RFC 7440 section 4), and
// after a second of silence the last one again. It measures no round trips.
type client struct {
	fd     int
	server netip.AddrPort
	want   []byte // the file
	asked  struct{ blksize, windowsize int }

	known               bool // the server's port, and fd is connected to it
	started             bool // DATA came
	blksize, windowsize int  // as granted
	next                int64
	count               int  // blocks since the last ACK
	gap                 bool // was acknowledged, and is not yet filled
	over                bool
	failed              string // why, once it is over

	out      []byte // what was sent last
	deadline time.Time
	silent   int // timeouts in a row
	repeats  int // in all
	random   *rand.Rand
}

func newClient(o *options, id int) (*client, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for client %d: %w", id, err)
	}
	// Room for a window of 64 and more, whatever the machine's default is.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	}
	c := &client{fd: fd, server: o.server, want: o.want, next: 1, random: rand.New(rand.NewPCG(o.seed, uint64(id)))}
	c.asked.blksize, c.asked.windowsize = o.blksize, o.windowsize
	c.blksize, c.windowsize = defaultBlksize, 1
	c.out = appendRRQ(make([]byte, 0, 512), o.name, o.blksize, o.windowsize)
	return c, nil
}

// packet takes one packet, and reports whether c.out is to be sent for it.
func (c *client) packet(p []byte) bool {
	if len(p) < headerLen || c.failed != "" {
		return false
	}
	switch binary.BigEndian.Uint16(p) {
	case opDATA:
		return c.data(binary.BigEndian.Uint16(p[2:]), p[headerLen:])
	case opOACK:
		return c.oack(p)
	case opERROR:
		if !c.over {
			c.fail(errorText(p))
		}
	}
	return false
}

func (c *client) oack(p []byte) bool {
	if c.started {
		return false
	}
	var err error
	c.blksize, c.windowsize, err = parseOACK(p)
	switch {
	case err != nil:
		c.fail(err.Error())
		return false
	case c.blksize < 8 || c.blksize > c.asked.blksize || c.windowsize < 1 || c.windowsize > c.asked.windowsize:
		c.fail(fmt.Sprintf("OACK: blksize %d and windowsize %d were not asked for", c.blksize, c.windowsize))
		return false
	}
	c.silent = 0
	c.ack()
	return true
}

func (c *client) data(block uint16, data []byte) bool {
	switch ahead := block - uint16(c.next); {
	case ahead == 0 && !c.over:
	case block == uint16(c.next-1) && c.started && c.count == 0:
		return true // the end of a window once more: its ACK was lost
	case ahead > 0 && int(ahead) < c.windowsize && !c.gap && !c.over:
		c.gap = true
		c.ack()
		return true
	default:
		return false // old, or the rest of a window with a gap
	}
	off := (c.next - 1) * int64(c.blksize)
	switch rest := c.want[off:]; {
	case len(data) > c.blksize:
		c.corrupt("a block of %d bytes where %d were agreed", len(data), c.blksize)
		return false
	case len(data) > len(rest):
		c.corrupt("longer than %d bytes", len(c.want))
		return false
	case !bytes.Equal(data, rest[:len(data)]):
		i := 0
		for data[i] == rest[i] {
			i++
		}
		c.corrupt("wrong byte at %d", off+int64(i))
		return false
	case len(data) < c.blksize && len(data) < len(rest):
		c.corrupt("ends after %d of %d bytes", off+int64(len(data)), len(c.want))
		return false
	}
	c.next++
	c.count++
	c.started, c.gap, c.silent = true, false, 0
	if c.over = len(data) < c.blksize; c.over || c.count >= c.windowsize {
		c.ack()
		return true
	}
	return false
}

// ack makes the ACK for all that came in order.
func (c *client) ack() {
	c.out = appendACK(c.out[:0], uint16(c.next-1))
	c.count = 0
}

// timeout takes a second of silence. It reports whether c.out is to be sent.
func (c *client) timeout(tries int) bool {
	if c.silent++; c.silent > tries {
		c.fail(fmt.Sprintf("no answer to %d packets", c.silent))
		return false
	}
	c.repeats++
	if c.known {
		c.ack()
		c.gap = false
	}
	return true
}

func (c *client) fail(why string) { c.over, c.failed = true, why }

// wrongContent begins the reason of a client that was given what the file
// does not hold.
const wrongContent = "wrong content: "

func (c *client) corrupt(format string, args ...any) {
	c.fail(wrongContent + fmt.Sprintf(format, args...))
}

// first reads a packet while the server's port is not known, and returns nil
// for one that is of no use.
func (c *client) first(buf []byte, flags int) ([]byte, error) {
	n, from, err := unix.Recvfrom(c.fd, buf, flags)
	if err != nil {
		return nil, err
	}
	sa, ok := from.(*unix.SockaddrInet4)
	if !ok || netip.AddrFrom4(sa.Addr) != c.server.Addr() {
		return nil, nil
	}
	// From here on the kernel turns strangers away.
	if err := unix.Connect(c.fd, sa); err != nil {
		return nil, fmt.Errorf("connect to the server's port: %w", err)
	}
	c.known = true
	return buf[:n], nil
}

// transmit sends c.out. What cannot be sent is a packet lost.
func (c *client) transmit() {
	if c.known {
		send(c.fd, c.out)
		return
	}
	unix.Sendto(c.fd, c.out, 0, &unix.SockaddrInet4{Port: int(c.server.Port()), Addr: c.server.Addr().As4()})
}
