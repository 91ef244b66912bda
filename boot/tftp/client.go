package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// 1428 bytes cross Ethernet without fragments in IPv4 and IPv6, and leave
	// 20 or more for a tunnel's header.
	defaultAsk        = 1428
	defaultWindowsize = 64
)

// A Client fetches and sends files. The zero value is ready for use, by many
// goroutines at once.
type Client struct {
	Blksize    int // to ask for, bytes, 8 to 65464; 0: 1428. 512 asks for none
	Windowsize int // to ask for, blocks; 0: 64. 1 asks for none
	Timing     Timing
}

// A Transfer is what a Client did.
type Transfer struct {
	Bytes      int64 // given to the writer, in order and each once; or taken by the server
	Size       int64 // as the server announced it; -1 where it did not
	Blksize    int   // as agreed
	Windowsize int   // as agreed
	Took       time.Duration
	Resent     int // packets of ours
}

// Get fetches a file of the server's at server, port included, and writes it
// to w. It returns nil only for a whole file: the last block came, and the size
// is that which the server announced, if it did. Whatever the error,
// Transfer.Bytes is how much w took.
//
// A missing file is fs.ErrNotExist; what else the server says is an *Error; a
// file that ends too early is io.ErrUnexpectedEOF; where nobody answers it is
// os.ErrDeadlineExceeded. An error of w's, or the end of ctx, is told to the
// server, and ends the transfer at once.
func (c *Client) Get(ctx context.Context, server netip.AddrPort, name string, w io.Writer) (Transfer, error) {
	start := time.Now()
	asked := Options{TSize: true, Blksize: c.Blksize, Windowsize: c.Windowsize}
	if asked.Blksize == 0 {
		asked.Blksize = defaultAsk
	}
	if asked.Windowsize == 0 {
		asked.Windowsize = defaultWindowsize
	}
	if asked.Blksize < minBlksize || asked.Blksize > maxBlksize || asked.Windowsize < 1 || asked.Windowsize > 32767 {
		return Transfer{Size: -1}, fmt.Errorf("get %q: blksize %d or windowsize %d out of range", name, c.Blksize, c.Windowsize)
	}
	if asked.Blksize == defaultBlksize {
		asked.Blksize = 0
	}
	if asked.Windowsize == 1 {
		asked.Windowsize = 0
	}
	t, err := c.get(ctx, server, name, w, asked)
	if e := (*Error)(nil); errors.As(err, &e) && t.Bytes == 0 && (e.Code == CodeOptions || e.Code == CodeIllegal) {
		// Servers older than RFC 2347 may refuse a request for its options.
		t, err = c.get(ctx, server, name, w, Options{})
	}
	t.Took = time.Since(start)
	if err != nil {
		return t, fmt.Errorf("get %q: %w", name, err)
	}
	return t, nil
}

// checkRequest holds what a name may be, and how long a request (RFC 2347).
func checkRequest(server netip.AddrPort, req *Request) error {
	switch {
	case !server.IsValid() || server.Port() == 0:
		return errors.New("no address and port of a server")
	case req.Name == "" || strings.Contains(req.Name, "\x00"):
		return errors.New("name is empty or holds a NUL")
	case len(appendRequest(nil, req)) > 512:
		return errors.New("name is too long for a request of 512 bytes")
	}
	return nil
}

func (c *Client) get(ctx context.Context, server netip.AddrPort, name string, w io.Writer, asked Options) (Transfer, error) {
	server = unmap(server)
	req := &Request{Name: name, Mode: "octet", Options: asked}
	t := Transfer{Size: -1, Blksize: defaultBlksize, Windowsize: 1}
	if err := checkRequest(server, req); err != nil {
		return t, err
	}
	conn, err := net.ListenUDP(network(server.Addr()), nil)
	if err != nil {
		return t, fmt.Errorf("open a socket: %w", err)
	}
	conn.SetReadBuffer(1 << 20) // a window and more, as far as the system gives it
	askRefused(conn)
	timing := c.Timing.withDefaults()
	r := &receiver{
		Transfer: t, ctx: ctx, conn: conn, server: server, asked: asked, w: w,
		timing: timing, rto: newRTO(timing), out: appendRequest(nil, req),
		in: make([]byte, headerLen+max(asked.Blksize, defaultBlksize)+1),
	}
	stop := interrupt(ctx, conn)
	err = r.run()
	stop()
	if err == nil {
		go r.dally()
		return r.Transfer, nil
	}
	r.abort(err)
	conn.Close()
	return r.Transfer, err
}

// A receiver is one download. It acknowledges the last block of each window
// and, once for a gap, the last block before it (RFC 7440 section 4).
type receiver struct {
	Transfer
	ctx    context.Context
	conn   *net.UDPConn
	server netip.AddrPort
	asked  Options
	w      io.Writer
	timing Timing
	rto    *rto
	in     []byte

	tid     netip.AddrPort // the server's end, once it is known
	out     []byte         // what was sent last: the request or an ACK
	sent    time.Time      // and when
	clean   bool           // it was sent once, and no answer came yet
	last    uint16         // last block that came in order, or 0
	count   int            // blocks since the last ACK
	gap     bool           // a gap was acknowledged, and not yet filled
	started bool           // DATA came
}

// run returns nil when the whole file was written and acknowledged.
func (r *receiver) run() error {
	r.send(r.out)
	r.clean = true
	until := r.sent.Add(r.rto.wait())
	for resends := 0; ; {
		n, from, err := readUntil(r.ctx, r.conn, r.in, until)
		switch {
		case r.ctx.Err() != nil:
			return context.Cause(r.ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if resends++; resends > r.timing.Retries || !r.tid.IsValid() && resends > r.timing.First {
				return fmt.Errorf("%w: %d bytes came, then nothing: %w", errSilent, r.Bytes, err)
			}
			r.rto.backoff()
			r.Resent++
			if r.tid.IsValid() {
				r.ack()
				r.gap = false // another may open
			} else {
				r.send(r.out)
			}
			r.clean = false
			until = r.sent.Add(r.wait())
			continue
		case errors.Is(err, syscall.ECONNREFUSED) && !r.tid.IsValid():
			return err // nobody serves there
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // of an earlier packet; silence ends the transfer
		}
		progress, done, err := r.packet(r.in[:n], from)
		if err != nil || done {
			return err
		}
		if progress {
			if resends == 0 {
				r.rto.ease()
			}
			resends = 0
			until = time.Now().Add(r.wait())
		}
	}
}

// wait is twice the sender's, see Timing.
func (r *receiver) wait() time.Duration {
	if !r.tid.IsValid() {
		return r.rto.wait()
	}
	return min(2*r.rto.wait(), r.timing.Max)
}

func (r *receiver) send(p []byte) {
	to := r.tid
	if !to.IsValid() {
		to = r.server
	}
	// What cannot be sent is a packet lost: the link may come back.
	r.conn.WriteToUDPAddrPort(p, to)
	r.sent = time.Now()
}

// ack acknowledges all that came in order, and begins a window.
func (r *receiver) ack() {
	r.out = appendACK(r.out[:0], r.last)
	r.send(r.out)
	r.clean, r.count = true, 0
}

// answered takes the round trip of the packet sent last.
func (r *receiver) answered() {
	if r.clean {
		r.rto.sample(time.Since(r.sent))
	}
	r.clean = false
}

// packet takes one packet, from anyone.
func (r *receiver) packet(p []byte, from netip.AddrPort) (progress, done bool, err error) {
	if !r.tid.IsValid() {
		if !sameAddr(from.Addr(), r.server.Addr()) {
			return false, false, nil // RFC 1350 section 4: of no transfer
		}
	} else if !samePeer(from, r.tid) {
		turnAway(r.conn, p, from)
		return false, false, nil
	}
	switch opcode(p) {
	case opOACK:
		return r.oack(p, from)
	case opDATA:
		return r.data(p, from)
	case opERROR:
		return false, false, peerError{parseError(p)}
	}
	return false, false, nil
}

func (r *receiver) oack(p []byte, from netip.AddrPort) (progress, done bool, err error) {
	if r.tid.IsValid() {
		if !r.started && r.asked != (Options{}) {
			r.ack() // the last one was lost
			r.clean = false
		}
		return false, false, nil
	}
	o, err := parseOACK(p)
	if err == nil {
		err = o.within(r.asked)
	}
	r.tid = from
	if err != nil {
		return false, false, refusal{&Error{CodeOptions, "options were not asked for"}, err}
	}
	if o.Blksize > 0 {
		r.Blksize = o.Blksize
	}
	r.Windowsize = max(o.Windowsize, 1)
	if o.TSize {
		r.Size = o.Size
	}
	r.answered()
	r.ack()
	return true, false, nil
}

func (r *receiver) data(p []byte, from netip.AddrPort) (progress, done bool, err error) {
	block, data, ok := parseBlock(p)
	if !ok {
		return false, false, nil
	}
	if !r.tid.IsValid() {
		if block != 1 {
			return false, false, nil
		}
		r.tid = from // a server without options
	}
	if len(data) > r.Blksize {
		return false, false, refusal{errIllegal, fmt.Errorf("block of more than %d bytes", r.Blksize)}
	}
	switch ahead := block - r.last; {
	case ahead == 0 && r.started:
		if r.count > 0 || time.Since(r.sent) < r.timing.Min/2 {
			return false, false, nil // too soon for a resend: a duplicate from the network
		}
		r.ack() // the end of a window once more: its ACK was lost
		r.clean = false
		r.Resent++
		return false, false, nil
	case ahead == 1:
	case ahead > 1 && int(ahead) <= r.Windowsize && !r.gap:
		r.gap = true
		r.ack()
		r.clean = false
		return false, false, nil
	default:
		return false, false, nil // old, or the rest of a window with a gap
	}
	if r.Size >= 0 && r.Bytes+int64(len(data)) > r.Size {
		return false, false, refusal{errCancelled, fmt.Errorf("more than the %d bytes that were announced", r.Size)}
	}
	n, err := r.w.Write(data)
	r.Bytes += int64(n)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return false, false, fmt.Errorf("write: %w", err)
	}
	r.answered()
	r.last, r.gap, r.started = block, false, true
	r.count++
	final := len(data) < r.Blksize
	if final && r.Size >= 0 && r.Bytes < r.Size {
		return false, false, refusal{errCancelled, fmt.Errorf("%d of %d bytes: %w", r.Bytes, r.Size, io.ErrUnexpectedEOF)}
	}
	if final || r.count >= r.Windowsize {
		r.ack()
	}
	return true, final, nil
}

// A refusal ends a transfer for what the server did: said goes to it.
type refusal struct {
	said *Error
	why  error
}

func (e refusal) Error() string { return e.why.Error() }
func (e refusal) Unwrap() error { return e.why }

// abort tells the server why the transfer ends.
func (r *receiver) abort(err error) {
	var told peerError
	var no refusal
	switch {
	case !r.tid.IsValid(), errors.As(err, &told):
	case errors.As(err, &no):
		r.send(appendError(nil, no.said))
	case errors.Is(err, syscall.ENOSPC):
		r.send(appendError(nil, wireError(err)))
	default:
		r.send(appendError(nil, errCancelled))
	}
}

// dally repeats the last ACK for a server that missed it, RFC 1350 section 6.
func (r *receiver) dally() {
	defer r.conn.Close()
	until := time.Now().Add(r.timing.Dally)
	for {
		n, from, err := readUntil(context.Background(), r.conn, r.in, until)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if block, _, ok := parseBlock(r.in[:n]); err == nil && ok && samePeer(from, r.tid) && opcode(r.in[:n]) == opDATA && block == r.last {
			r.conn.WriteToUDPAddrPort(r.out, r.tid)
		}
	}
}
