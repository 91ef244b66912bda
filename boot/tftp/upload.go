package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	pin "github.com/pin/tftp/v3"
)

// upload serves a write request. The file is complete when it returns; after,
// if not nil, then repeats the last ACK to a client that missed it.
func (e *engine) upload(ctx context.Context, t *transfer, res *Result) (after func()) {
	if e.Create == nil {
		res.Err = e.refuse(t, errNoUploads)
		return nil
	}
	w, err := e.Create(ctx, &t.req)
	if err != nil {
		res.Err = e.refuse(t, err)
		return nil
	}
	p, err := e.dial(ctx, t)
	if err != nil {
		closeWriter(w, err)
		res.Err = e.refuse(t, fmt.Errorf("open a socket for the transfer: %w", err))
		return nil
	}
	u := newUpload(ctx, e, t, p, w)
	u.srv.Serve(u)
	<-u.done
	res.Granted, res.Bytes, res.Resent = u.granted, u.bytes, u.resent
	if u.err != nil {
		p.close()
		res.Err = fmt.Errorf("receive %q: %w", t.req.Name, u.err)
		return nil
	}
	return func() {
		defer p.close()
		t.stalled.Store(true) // the same request is a new one from here
		u.dally(e.timing.Dally)
	}
}

// An upload is one transfer to a pin/tftp server of its own, which takes it for
// a net.PacketConn that hears a single client.
//
// That server crashes on DATA larger than was agreed on, and when a packet
// comes just as a transfer ends; it tells clients the text of any error. So the
// two take turns: it is handed one packet at a time, only the DATA that is
// next, and no other before it has answered. Resends are made here, and its
// ERRORs are replaced by ours.
type upload struct {
	ctx      context.Context
	peer     peer
	req      *Request
	granted  Options
	timing   Timing
	rto      *rto
	w        io.WriteCloser
	srv      *pin.Server
	answered func()        // called when the first DATA came
	turn     chan struct{} // holds a token when pin can be handed a packet
	over     chan struct{} // closed: it will be handed none any more
	done     chan struct{} // closed: the outcome is known

	// Of the side that hands packets to pin.
	first  []byte // the request, for pin; then nil
	buf    []byte // a packet from the peer
	heard  bool   // DATA came
	resent int
	told   error // why pin was handed an ERROR

	// Of pin's side.
	acked uint16    // last block that was acknowledged
	last  []byte    // that ACK, or the OACK, as sent
	sent  time.Time // and when
	werr  error     // of w
	bytes int64
	err   error // the outcome
}

func newUpload(ctx context.Context, e *engine, t *transfer, p peer, w io.WriteCloser) *upload {
	u := &upload{
		ctx: ctx, peer: p, req: &t.req, timing: e.timing, rto: newRTO(e.timing), w: w, granted: e.grant(t), answered: func() { e.answered(t) },
		turn: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}),
	}
	u.turn <- struct{}{}
	// pin takes blocks from 512 bytes and knows no windows.
	u.granted.Windowsize = 0
	if u.granted.Blksize < defaultBlksize {
		u.granted.Blksize = 0
	}
	blksize := max(u.granted.Blksize, defaultBlksize)
	// Nothing of the client's own words is handed on.
	u.first = appendRequest(nil, &Request{Write: true, Name: "upload", Mode: t.req.Mode, Options: Options{Blksize: u.granted.Blksize}})
	u.buf = make([]byte, headerLen+blksize+1)

	u.srv = pin.NewServer(nil, u.receive)
	u.srv.EnableSinglePort()             // else it opens a socket on another address
	u.srv.SetBlockSizeNegotiation(false) // it was decided here
	u.srv.SetBlockSize(blksize)          // also the size of its buffers
	u.srv.SetTimeout(24 * time.Hour)     // and so were the timeouts
	u.srv.SetBackoff(func(int) time.Duration { return 0 })
	return u
}

// receive is pin's handler: the ACK of the last block goes out when it returns nil.
func (u *upload) receive(_ string, wt io.WriterTo) error {
	defer close(u.done)
	defer u.srv.Shutdown()
	defer u.end()
	n, err := wt.WriteTo(writerFunc(func(p []byte) (n int, err error) {
		n, u.werr = u.w.Write(p)
		return n, u.werr
	}))
	switch {
	case err == nil && u.req.Options.TSize && u.req.Mode == "octet" && n != u.req.Options.Size:
		err = fmt.Errorf("%d bytes came, %d were announced: %w", n, u.req.Options.Size, io.ErrUnexpectedEOF)
	case err != nil:
		err = u.why(err)
	}
	if err == nil {
		err = u.w.Close()
	} else {
		closeWriter(u.w, err)
	}
	u.bytes, u.err = n, err
	return err
}

// why finds what is behind an error of pin's.
func (u *upload) why(err error) error {
	switch {
	case u.told != nil:
		return u.told
	case u.werr != nil:
		return u.werr
	}
	return err
}

// end hands pin no more packets.
func (u *upload) end() {
	select {
	case <-u.over:
	default:
		close(u.over)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// closeWriter ends a file that is not whole.
func closeWriter(w io.WriteCloser, err error) {
	if c, ok := w.(interface{ CloseWithError(error) error }); ok {
		c.CloseWithError(err)
		return
	}
	w.Close()
}

// ReadFrom hands pin the request, then block by block, or an ERROR that ends it.
func (u *upload) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case <-u.over:
	case <-u.turn:
	}
	select {
	case <-u.over: // which counts for more
		time.Sleep(time.Millisecond) // pin comes again until its transfer has ended
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	if u.first != nil {
		n := copy(p, u.first)
		u.first = nil
		return n, u.LocalAddr(), nil
	}
	n, err := u.next()
	if err != nil {
		u.told = err
		return copy(p, appendError(nil, errCancelled)), u.LocalAddr(), nil
	}
	return copy(p, u.buf[:n]), u.LocalAddr(), nil
}

// next waits for the next block of the file, and repeats the last ACK by time.
func (u *upload) next() (int, error) {
	clean := true
	until := u.sent.Add(u.wait())
	for resends := 0; ; {
		n, err := u.peer.recv(u.buf, until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if resends++; resends > u.timing.Retries || !u.heard && resends > u.timing.First {
				return 0, errSilent
			}
			u.rto.backoff()
			u.again()
			clean = false
			until = u.sent.Add(u.wait())
			continue
		}
		if err != nil {
			return 0, err
		}
		p := u.buf[:n]
		if opcode(p) == opERROR {
			return 0, peerError{parseError(p)}
		}
		block, _, ok := parseBlock(p)
		switch {
		case opcode(p) != opDATA || !ok || len(p) == len(u.buf): // the last: more than a block
		case block == u.acked+1:
			if clean {
				u.rto.sample(time.Since(u.sent))
			}
			if !u.heard {
				u.heard = true
				u.answered()
			}
			u.rto.fixed = u.granted.Timeout
			return n, nil
		case block == u.acked && u.heard && time.Since(u.sent) >= u.timing.Min/2:
			u.again() // our ACK was lost
			clean = false
		}
	}
}

// wait is twice the sender's once it was heard, see Timing.
func (u *upload) wait() time.Duration {
	if !u.heard || u.rto.fixed > 0 {
		return u.rto.wait()
	}
	return min(2*u.rto.wait(), u.timing.Max)
}

// again repeats the last ACK.
func (u *upload) again() {
	u.resent++
	u.peer.send(u.last)
	u.sent = time.Now()
}

// WriteTo sends what pin says, in our words.
func (u *upload) WriteTo(p []byte, _ net.Addr) (int, error) {
	if opcode(p) == opERROR {
		u.end()
		err := u.err
		if err == nil {
			err = u.why(errSilent)
		}
		sendError(u.ctx, u.peer, err)
		return len(p), nil
	}
	u.last = bytes.Clone(p)
	if block, _, ok := parseBlock(p); ok && opcode(p) == opACK {
		u.acked = block
	}
	if !u.heard && (u.granted != Options{}) {
		// pin knows blksize alone: the whole answer to the request is ours.
		u.last = appendOACK(nil, u.granted)
	}
	u.peer.send(u.last)
	u.sent = time.Now()
	u.turn <- struct{}{}
	return len(p), nil
}

// dally repeats the last ACK for a while, RFC 1350 section 6.
func (u *upload) dally(d time.Duration) {
	for until := time.Now().Add(d); ; {
		n, err := u.peer.recv(u.buf, until)
		if err != nil || opcode(u.buf[:n]) == opERROR {
			return
		}
		if block, _, ok := parseBlock(u.buf[:n]); ok && opcode(u.buf[:n]) == opDATA && block == u.acked {
			u.peer.send(u.last)
		}
	}
}

// LocalAddr stands for both ends: pin only wants to parse it.
func (u *upload) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 69} }

// Close leaves the peer open for dally.
func (u *upload) Close() error { return nil }

// SetReadDeadline is how pin wakes ReadFrom to stop: over has done so.
func (u *upload) SetReadDeadline(time.Time) error { return nil }

func (u *upload) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (u *upload) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
