package main

import (
	"bytes"
	"cmp"
	endian "encoding/binary" // binary is the product
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The opcodes of RFC 1350 section 5 and RFC 2347.
const (
	opRRQ = 1 + iota
	opWRQ
	opDATA
	opACK
	opERROR
	opOACK
)

// atOnce is how long a client waits for what must come at once. It is more
// than the slowest of the servers takes to send a lost packet again.
const atOnce = 7 * time.Second

// A packet is what a server said.
type packet struct {
	from    netip.AddrPort
	at      time.Time
	op      uint16
	block   uint16            // of DATA and ACK; the code of an ERROR
	data    []byte            // of DATA
	options map[string]string // of an OACK, names in lower case
	text    string            // of an ERROR
}

func (k packet) String() string {
	switch k.op {
	case opDATA:
		return fmt.Sprintf("DATA %d (%d bytes)", k.block, len(k.data))
	case opACK:
		return fmt.Sprintf("ACK %d", k.block)
	case opERROR:
		return fmt.Sprintf("ERROR %d %q", k.block, k.text)
	case opOACK:
		var s []string
		for _, name := range slices.Sorted(maps.Keys(k.options)) {
			s = append(s, name+" "+k.options[name])
		}
		return fmt.Sprintf("OACK (%s)", strings.Join(s, ", "))
	}
	return fmt.Sprintf("opcode %d", k.op)
}

// parsePacket is strict: a server's packets have no excuse.
func parsePacket(b []byte) (packet, error) {
	if len(b) < 2 {
		return packet{}, fmt.Errorf("a packet of %d bytes", len(b))
	}
	k := packet{op: endian.BigEndian.Uint16(b)}
	if k.op == opOACK {
		fields := strings.Split(string(b[2:]), "\x00")
		if len(fields)%2 == 0 || fields[len(fields)-1] != "" {
			return k, fmt.Errorf("malformed OACK %q", b[2:])
		}
		k.options = map[string]string{}
		for f := fields[:len(fields)-1]; len(f) > 0; f = f[2:] {
			name := strings.ToLower(f[0])
			if _, twice := k.options[name]; twice {
				return k, fmt.Errorf("OACK with %s twice", name)
			}
			k.options[name] = f[1]
		}
		return k, nil
	}
	if len(b) < 4 {
		return k, fmt.Errorf("opcode %d in a packet of %d bytes", k.op, len(b))
	}
	k.block = endian.BigEndian.Uint16(b[2:])
	switch k.op {
	case opDATA:
		k.data = bytes.Clone(b[4:])
	case opACK:
	case opERROR:
		text, rest, ok := bytes.Cut(b[4:], []byte{0})
		if k.text = string(text); !ok || len(rest) > 0 {
			return k, fmt.Errorf("ERROR %d whose text %q does not end in NUL", k.block, b[4:])
		}
	default:
		return k, fmt.Errorf("opcode %d", k.op)
	}
	return k, nil
}

// A client is one UDP port that speaks TFTP, packet by packet. What it does
// not expect ends the check of the probe that it belongs to.
type client struct {
	*probe
	conn  *net.UDPConn
	asked netip.AddrPort // where requests go
	peer  netip.AddrPort // the server's end of the transfer; invalid until it answers
	buf   []byte
	oob   [64]byte

	mode     string                // "" is octet
	lose     func(n int) bool      // DATA number n of the transfer is lost
	extra    func(n int64) []int64 // blocks to acknowledge besides n, before it
	within   time.Duration         // of a whole transfer; 0 is two minutes, while blocks come
	patience time.Duration         // with one packet that is due; 0 is atOnce

	sent, received int               // bytes of UDP payload
	asking         []byte            // the last request
	blocks         int64             // of the last fetch
	packets        int               // of DATA that it took
	granted        map[string]string // in it; nil: no OACK
}

// open opens a port at from for a server at to. A device other than "" binds
// it to that link.
func (p *probe) open(from, to netip.Addr, device string) *client {
	c := &client{probe: p, asked: netip.AddrPortFrom(to, 69), buf: make([]byte, 1<<16)}
	ns := p.near
	if from.IsLoopback() {
		ns = p.far
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) {
			// A window that the server may send must fit.
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
			// When a packet came, however late the test reads it.
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
			if err == nil && device != "" {
				err = unix.BindToDevice(int(fd), device)
			}
		})
		return err
	}}
	var err error
	ns.Do(p.t, func() {
		var conn net.PacketConn
		if conn, err = lc.ListenPacket(p.t.Context(), "udp", netip.AddrPortFrom(from, p.bind).String()); err == nil {
			c.conn = conn.(*net.UDPConn)
		}
	})
	if err != nil {
		p.failf("the test cannot open a port: %v", err)
	}
	p.closers = append(p.closers, func() { c.conn.Close() })
	return c
}

// client opens a port for the server's first address.
func (p *probe) client() *client { return p.open(near4, far4, "") }

func (c *client) addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (c *client) sendTo(b []byte, to netip.AddrPort) {
	c.sent += len(b)
	if _, err := c.conn.WriteToUDPAddrPort(b, to); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		c.failf("the test cannot send: %v", err)
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
	b := endian.BigEndian.AppendUint16(nil, op)
	for _, s := range append([]string{name, mode}, options...) {
		b = append(append(b, s...), 0)
	}
	return b
}

func header(op, block uint16) []byte {
	return endian.BigEndian.AppendUint16(endian.BigEndian.AppendUint16(nil, op), block)
}

// rrq asks for a file, and so begins a new transfer.
func (c *client) rrq(name string, options ...string) {
	mode := c.mode
	if mode == "" {
		mode = "octet"
	}
	c.peer = netip.AddrPort{}
	c.asking = request(opRRQ, name, mode, options...)
	c.send(c.asking)
}

func (c *client) ack(n int64) { c.send(header(opACK, uint16(n))) }

func (c *client) error(code uint16, text string) {
	c.send(append(append(header(opERROR, code), text...), 0))
}

// recv returns the next packet from anyone until then.
func (c *client) recv(until time.Time) (packet, bool) {
	c.conn.SetReadDeadline(until)
	for {
		n, oobn, _, from, err := c.conn.ReadMsgUDPAddrPort(c.buf, c.oob[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return packet{}, false
		}
		if err != nil {
			c.failf("the test cannot receive: %v", err)
		}
		c.received += n
		from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(c.asked.Addr().Zone()), from.Port())
		k, err := parsePacket(c.buf[:n])
		if err != nil {
			c.failf("it sends %v", err)
		}
		k.from, k.at = from, arrival(c.oob[:oobn])
		if !c.asked.Addr().IsMulticast() && from.Addr() != c.asked.Addr() {
			c.failf("asked was %v, the answer comes from %v", c.asked.Addr(), from.Addr())
		}
		return k, true
	}
}

// arrival is the kernel's time of a packet: two int64, after the header.
func arrival(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) < 16 {
		return time.Now()
	}
	t := msgs[0].Data
	return time.Unix(int64(endian.NativeEndian.Uint64(t)), int64(endian.NativeEndian.Uint64(t[8:])))
}

// next returns the next packet, which must come.
func (c *client) next(what string) packet {
	patience := cmp.Or(c.patience, atOnce)
	k, ok := c.recv(time.Now().Add(patience))
	if !ok {
		c.failf("no answer in %v; %s was due", patience, what)
	}
	if !c.peer.IsValid() {
		c.peer = k.from
	}
	return k
}

// silent fails if anything comes for so long.
func (c *client) silent(d time.Duration, after string) {
	if k, ok := c.recv(time.Now().Add(d)); ok {
		c.failf("%v comes after %s", k, after)
	}
}

// over fails if anything comes for so long after what ends a transfer. What was
// on its way, or sent before the server had read of the end, does not count.
func (c *client) over(d time.Duration, after string) {
	const settled = 400 * time.Millisecond
	for until := time.Now().Add(settled); ; {
		if _, ok := c.recv(until); !ok {
			break
		}
	}
	c.silent(d, after)
}

// data returns block n, which is due. Older ones may come again: the test may
// have been slow.
func (c *client) data(n int64) []byte { return c.block(n).data }

func (c *client) block(n int64) packet {
	for {
		k := c.next(fmt.Sprintf("DATA %d", n))
		switch old := int16(uint16(n) - k.block); {
		case k.op == opDATA && old == 0 && k.from == c.peer:
			return k
		case k.op == opDATA && old > 0 && n > 1:
			continue
		}
		c.failf("%v from port %d; DATA %d was due", k, k.from.Port(), n)
	}
}

// oack returns the options granted.
func (c *client) oack() map[string]string {
	k := c.next("OACK")
	if k.op != opOACK {
		c.failf("%v; an OACK was due", k)
	}
	return k.options
}

// refusal returns the ERROR that a request gets.
func (c *client) refusal(of string) packet {
	k := c.next("an ERROR for " + of)
	if k.op != opERROR {
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
