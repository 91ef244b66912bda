//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// A client is one download over a socket. What comes is compared with the
// content that the file is known to have. After a second of silence its last
// packet goes again.
type client struct {
	*conformance.Download
	fd     int
	server netip.AddrPort
	known  bool // the server's port, and fd is connected to it

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
	d := conformance.NewDownload(o.name, "octet", o.asked()...)
	want := o.want
	d.Deliver = func(offset int64, data []byte, last bool) error { return compare(want, offset, data, last) }
	return &client{Download: d, fd: fd, server: o.server, random: rand.New(rand.NewPCG(o.seed, uint64(id)))}, nil
}

// compare reports what is wrong with a block of a file.
func compare(file []byte, offset int64, block []byte, last bool) error {
	rest := file[offset:]
	switch {
	case len(block) > len(rest):
		return fmt.Errorf("longer than %d bytes", len(file))
	case !bytes.Equal(block, rest[:len(block)]):
		i := 0
		for block[i] == rest[i] {
			i++
		}
		return fmt.Errorf("wrong byte at %d", offset+int64(i))
	case last && len(block) < len(rest):
		return fmt.Errorf("ends after %d of %d bytes", offset+int64(len(block)), len(file))
	}
	return nil
}

// asked are the options of a request. A blksize of 512 and a windowsize of 1
// hold without options, so they are not asked for.
func (o *options) asked() []string {
	var list []string
	if o.blksize != conformance.DefaultBlksize {
		list = append(list, "blksize", strconv.Itoa(o.blksize))
	}
	if o.windowsize != 1 {
		list = append(list, "windowsize", strconv.Itoa(o.windowsize))
	}
	return list
}

// packet takes one packet, and reports whether c.Reply is to be sent for it.
func (c *client) packet(p []byte) (reply bool) {
	if c.Failed != "" {
		return false
	}
	k, err := conformance.Parse(p)
	if err != nil {
		c.Fail(err.Error())
		return false
	}
	before := c.Blocks()
	reply = c.Take(k)
	if c.Blocks() > before || k.Op == conformance.OpOACK && reply {
		c.silent = 0
	}
	return reply
}

// timeout takes a second of silence. It reports whether c.Reply is to be sent.
func (c *client) timeout(tries int) bool {
	if c.silent++; c.silent > tries {
		c.Fail(fmt.Sprintf("no answer to %d packets", c.silent))
		return false
	}
	c.repeats++
	c.Timeout()
	return true
}

// first reads a packet while the server's port is not known. It returns nil for
// one that is of no use.
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

// transmit sends c.Reply. What cannot be sent is a packet lost.
func (c *client) transmit() {
	if c.known {
		send(c.fd, c.Reply)
		return
	}
	unix.Sendto(c.fd, c.Reply, 0, &unix.SockaddrInet4{Port: int(c.server.Port()), Addr: c.server.Addr().As4()})
}
