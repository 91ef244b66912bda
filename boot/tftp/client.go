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
// goroutines at once. On Linux a Get keeps a thread of the system's while it
// waits for packets: two system calls are all that a block in lockstep costs.
type Client struct {
	Blksize    int // to ask for, bytes, 8 to 65464; 0: 1428. 512 asks for none
	Windowsize int // to ask for, blocks, of Get; 0: 64. 1 asks for none
	Timing     Timing

	// Announce, if set, is told the size of a file that Get fetches, -1 where
	// the server does not say, once and before the first byte is written. Its
	// error ends the transfer.
	Announce func(size int64) error
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
// to w. It returns nil only for a whole file: the last block came and was
// written, and the size is that which the server announced, if it did. Whatever
// the error, Transfer.Bytes is how much w took.
//
// Blocks are gathered and written some 64 KiB at a time, and a window is
// acknowledged before it is written, so that the next one comes meanwhile; the
// last ACK alone, which ends the transfer, waits for w. Whatever the server
// does, Get holds less than 512 KiB.
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
	if e := (declined{}); errors.As(err, &e) && (e.said.Code == CodeOptions || e.said.Code == CodeIllegal) {
		// Servers older than RFC 2347 may refuse a request for its options.
		t, err = c.get(ctx, server, name, w, Options{})
	}
	t.Took = time.Since(start)
	if err != nil {
		return t, fmt.Errorf("get %q: %w", name, err)
	}
	return t, nil
}

// declined is an ERROR in answer to a request.
type declined struct{ peerError }

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
	askRefused(conn)
	timing := c.Timing.withDefaults()
	r := &receiver{Transfer: t, asked: asked, w: w, announce: c.Announce, timing: timing, rto: newRTO(timing), start: time.Now()}
	size := headerLen + max(asked.Blksize, defaultBlksize) + 1
	answer, tid, err := r.ask(ctx, conn, server, appendRequest(nil, req), make([]byte, size))
	if err == nil && opcode(answer) == opERROR {
		err = declined{peerError{parseError(answer)}}
	}
	if err != nil {
		conn.Close()
		return r.Transfer, err
	}
	d := newDoor(conn, tid)
	if r.in, err = newInbox(d, size); err != nil {
		conn.Close()
		return r.Transfer, fmt.Errorf("open a socket: %w", err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		r.cancelled.Store(true)
		r.in.wake()
		close(woken)
	})
	if err = r.run(ctx, answer); err != nil {
		r.abort(err)
	}
	if !stop() {
		<-woken // before the socket's number is another's
	}
	r.in.close()
	if err != nil {
		conn.Close()
	} else {
		d.dally(r.last, timing.Dally)
	}
	return r.Transfer, err
}

// ask sends a request until the server answers, from whatever port of its, and
// returns what it says first.
func (r *receiver) ask(ctx context.Context, conn *net.UDPConn, server netip.AddrPort, request, buf []byte) (answer []byte, tid netip.AddrPort, err error) {
	defer interrupt(ctx, conn)()
	for resends := 0; ; resends++ {
		// What cannot be sent is a packet lost: the link may come back.
		conn.WriteToUDPAddrPort(request, server)
		r.sent = time.Since(r.start)
		for {
			n, from, err := readUntil(ctx, conn, buf, r.start.Add(r.sent+r.rto.wait()))
			switch {
			case ctx.Err() != nil:
				return nil, tid, context.Cause(ctx)
			case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, net.ErrClosed):
				return nil, tid, err // nobody serves there
			case err == nil && sameAddr(from.Addr(), server.Addr()) && answers(buf[:n]):
				r.now, r.clean = time.Since(r.start), resends == 0
				return buf[:n], from, nil
			case !errors.Is(err, os.ErrDeadlineExceeded):
				continue // of no transfer, or an error of an earlier packet
			}
			break
		}
		if resends == r.timing.First {
			return nil, tid, fmt.Errorf("%w: %w", errSilent, os.ErrDeadlineExceeded)
		}
		r.rto.backoff()
		r.Resent++
	}
}

// answers reports whether p may be the first packet after a read request.
func answers(p []byte) bool {
	switch block, _, ok := parseBlock(p); opcode(p) {
	case opOACK, opERROR:
		return true
	case opDATA:
		return ok && block == 1
	}
	return false
}
