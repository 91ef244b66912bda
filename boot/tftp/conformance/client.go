package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// askAgain is a silence after which the client sends its last packet again, as
// RFC 1350 section 2 says.
const askAgain = 3 * time.Second

// guards are how long the client waits, and how often a check may be late. They
// do not decide whether a row holds: they end a check of a server that hangs.
type guards struct {
	packet   time.Duration // until a packet that is due, and a download's next block
	download time.Duration // of a whole one
	settling time.Duration // for a server that does not tell what it has read
	tries    int           // of a check that measures time
}

// guards of the target. To compare with a server, a look is enough.
func (t *Target) guards() guards {
	if t.Glance {
		return guards{10 * time.Second, time.Minute, time.Second, 1}
	}
	return guards{30 * time.Second, 5 * time.Minute, 10 * time.Second, 5}
}

// A received packet is one that came from anyone.
type received struct {
	Packet
	from netip.AddrPort
	at   time.Time // the kernel's, however late the check reads it
}

// A client is one UDP port that speaks TFTP, packet by packet. What it does
// not expect ends the check of the probe that it belongs to. It has a method for
// each thing that checks say often, so that a check reads as an exchange.
type client struct {
	*probe
	conn   *net.UDPConn
	device string
	asked  netip.AddrPort // where requests go
	peer   netip.AddrPort // the server's end of the transfer; invalid until it answers

	mode   string                // "" is octet
	silent bool                  // the client must not send its last packet again by itself
	lose   func(n int) bool      // DATA number n of the transfer is lost
	extra  func(n int64) []int64 // blocks to acknowledge besides n, before it
	within time.Duration         // most of a whole transfer; 0: while blocks come

	sent, got int            // bytes of UDP payload
	asking    []byte         // the last request
	last      []byte         // the last packet sent
	lastTo    netip.AddrPort // where that went
	repeats   int            // packets sent again by await
	granted   bool           // an OACK came for the last request, and may come again
	packets   int            // DATA of the last download
	download  *Download      // the last one
}

// open opens a port at from for a server at to. A device other than "" binds
// it to that link.
func (p *probe) open(from netip.Addr, to netip.AddrPort, device string) *client {
	c := &client{probe: p, device: device, asked: to}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) {
			// A window that the server may send must fit.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
			}
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
			if err == nil && device != "" {
				err = unix.BindToDevice(int(fd), device)
			}
		})
		return err
	}}
	var err error
	p.enter(from, func() {
		var conn net.PacketConn
		if conn, err = lc.ListenPacket(context.Background(), "udp", netip.AddrPortFrom(from, p.bind).String()); err == nil {
			c.conn = conn.(*net.UDPConn)
		}
	})
	if err != nil {
		p.failf("the check cannot open a port: %v", err)
	}
	p.closers = append(p.closers, func() { c.conn.Close() })
	return c
}

// client opens a port for the server's first address.
func (p *probe) client() *client {
	from := netip.IPv4Unspecified()
	switch {
	case p.Cables != nil:
		from = Near4
	case p.Server.Addr().Is6():
		from = netip.IPv6Unspecified()
	}
	return p.open(from, p.Server, "")
}

func (c *client) addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (c *client) sendTo(b []byte, to netip.AddrPort) {
	c.sent += len(b)
	c.last, c.lastTo = bytes.Clone(b), to
	if _, err := c.conn.WriteToUDPAddrPort(b, to); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		c.failf("the check cannot send: %v", err)
	}
}

// send sends to the transfer's port once it is known.
func (c *client) send(b []byte) {
	to := c.peer
	if !to.IsValid() {
		to = c.asked
	}
	c.sendTo(b, to)
}

func request(op uint16, name, mode string, options ...string) []byte {
	return AppendRequest(nil, op, name, mode, options...)
}

func header(op, block uint16) []byte { return AppendHeader(nil, op, block) }

// rrq asks for a file, and so begins a new transfer.
func (c *client) rrq(name string, options ...string) {
	c.startTransfer(request(OpRRQ, name, c.transferMode(), options...))
}

func (c *client) transferMode() string {
	if c.mode == "" {
		return "octet"
	}
	return c.mode
}

// startTransfer sends a request.
func (c *client) startTransfer(req []byte) {
	c.peer, c.granted = netip.AddrPort{}, false
	c.asking = req
	c.send(req)
}

func (c *client) ack(n int64) { c.send(header(OpACK, uint16(n))) }

func (c *client) sendError(code uint16, text string) {
	c.send(append(append(header(OpERROR, code), text...), 0))
}

// recv returns the next packet from anyone until then.
func (c *client) recv(until time.Time) (received, bool) {
	c.conn.SetReadDeadline(until)
	n, oobn, _, from, err := c.conn.ReadMsgUDPAddrPort(c.buf[:], c.oob[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return received{}, false
	}
	if err != nil {
		c.failf("the check cannot receive: %v", err)
	}
	c.got += n
	k, err := Parse(bytes.Clone(c.buf[:n]))
	if err != nil {
		c.failf("it sends %v", err)
	}
	from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(c.asked.Addr().Zone()), from.Port())
	if !c.asked.Addr().IsMulticast() && from.Addr() != c.asked.Addr() {
		c.failf("asked was %v, the answer comes from %v", c.asked.Addr(), from.Addr())
	}
	return received{k, from, arrival(c.oob[:oobn])}, true
}

// arrival is the kernel's time of a packet: two int64, after the header.
func arrival(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) < 16 {
		return time.Now()
	}
	t := msgs[0].Data
	return time.Unix(int64(binary.NativeEndian.Uint64(t)), int64(binary.NativeEndian.Uint64(t[8:])))
}

// await returns the next packet, if one comes before the guard. Meanwhile the
// client asks again, unless it is to be silent.
func (c *client) await() (received, bool) {
	for end := time.Now().Add(c.guards().packet); ; {
		until := time.Now().Add(askAgain)
		if until.After(end) {
			until = end
		}
		k, ok := c.recv(until)
		switch {
		case ok:
			if !c.peer.IsValid() {
				c.peer = k.from
			}
			return k, true
		case !time.Now().Before(end):
			return k, false
		case !c.silent:
			c.repeats++
			c.sendTo(c.last, c.lastTo)
		}
	}
}

// next returns the next packet, which must come.
func (c *client) next(what string) received {
	k, ok := c.await()
	if !ok {
		c.failf("no answer in %v; %s was due", c.guards().packet, what)
	}
	return k
}

// expectNothing fails if anything comes for so long.
func (c *client) expectNothing(d time.Duration, after string) {
	if k, ok := c.recv(time.Now().Add(d)); ok {
		c.failf("%v comes after %s", k, after)
	}
}

// expectOver fails if anything comes for so long after what ended the transfers at
// these ends of the server. What it sent before it had read of the end does
// not count.
func (c *client) expectOver(d time.Duration, after string, ends ...netip.AddrPort) {
	for _, end := range ends {
		read := c.readAt(end)
		for until := read.Add(d); ; {
			k, ok := c.recv(until)
			if !ok {
				break
			}
			if k.at.After(read) && k.from == end {
				c.failf("%v comes from port %d after %s", k, k.from.Port(), after)
			}
		}
	}
}

// readAt returns a time by which the server had read all that was sent to an
// end of it before. A stranger sends there, whose packet is read after those.
// The time is that of the answer: RFC 1350 section 4 has an ERROR 5.
func (c *client) readAt(end netip.AddrPort) time.Time {
	bind := c.bind
	c.bind = 0
	s := c.open(c.addr().Addr(), c.asked, c.device)
	c.bind = bind
	packet := header(OpACK, 1)
	if end == c.asked { // all transfers have this port: a stranger may ask there
		packet = request(OpRRQ, "none", "octet")
	}
	for guard := time.Now().Add(c.guards().settling); time.Now().Before(guard); {
		s.sendTo(packet, end)
		if k, ok := s.recv(time.Now().Add(time.Second)); ok {
			return k.at
		}
	}
	return time.Now()
}

// data returns block n, which is due. Older ones may come again: time may have
// passed.
func (c *client) data(n int64) []byte { return c.block(n).Data }

func (c *client) block(n int64) received {
	for {
		k := c.next(fmt.Sprintf("DATA %d", n))
		switch old := int16(uint16(n) - k.Block); {
		case k.Op != OpDATA || k.from != c.peer:
		case old == 0:
			return k
		case old > 0 && n > 1:
			continue
		}
		if c.oackAgain(k, n-1) {
			continue
		}
		c.failf("%v from port %d; DATA %d was due", k, k.from.Port(), n)
	}
}

// oackAgain reports whether a packet is the OACK once more. The server sends it
// again where it was late to read the ACK 0. Block n was acknowledged last.
func (c *client) oackAgain(k received, n int64) bool {
	return k.Op == OpOACK && c.granted && n == 0 && k.from == c.peer
}

// oack returns the options granted.
func (c *client) oack() map[string]string {
	k := c.next("OACK")
	if k.Op != OpOACK {
		c.failf("%v; an OACK was due", k)
	}
	c.granted = true
	return k.Options
}

// refusal returns the ERROR that a request gets.
func (c *client) refusal(of string) received {
	k := c.next("an ERROR for " + of)
	if k.Op != OpERROR {
		c.failf("%s: answered with %v", of, k)
	}
	return k
}

// begin asks for a file in lockstep and acknowledges the blocks before n,
// which it leaves without an ACK.
func (c *client) begin(name string, n int64, options ...string) []byte {
	c.rrq(name, options...)
	if len(options) > 0 {
		c.oack()
		c.ack(0)
	}
	for i := int64(1); ; i++ {
		data := c.data(i)
		if i == n {
			return data
		}
		c.ack(i)
	}
}
