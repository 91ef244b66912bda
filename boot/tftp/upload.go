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

// upload serves a write request, and reports it.
func (e *engine) upload(t *transfer) {
	defer t.cancel(nil)
	r := Result{Request: t.req}
	u, err := e.receive(t, &r)
	r.Took, r.Err = time.Since(t.began), err
	e.mu.Lock()
	if err != nil {
		t.leave()
	}
	t.stalled = true // the same request is a new one from here
	e.mu.Unlock()
	if e.Done != nil {
		e.Done(r)
	}
	if err == nil {
		u.dally(e.timing.Dally)
	}
	e.mu.Lock()
	t.leave()
	e.uploads--
	e.mu.Unlock()
}

// receive takes the file, which is whole when it returns without an error.
func (e *engine) receive(t *transfer, r *Result) (*upload, error) {
	refuse := func(err error) (*upload, error) {
		e.mu.Lock()
		defer e.unlock()
		e.reply(e.ask, t.peer, t.at, err)
		return nil, err
	}
	if e.Create == nil {
		return refuse(errNoUploads)
	}
	w, err := e.Create(t.ctx, &t.req)
	if err != nil {
		return refuse(err)
	}
	u := newUpload(t, w)
	u.srv.Serve(u)
	<-u.done
	r.Granted, r.Bytes, r.Resent = u.granted, u.bytes, u.resent
	if u.err != nil {
		return u, fmt.Errorf("receive %q: %w", t.req.Name, u.err)
	}
	return u, nil
}

// sendNow sends a packet to the client of an upload.
func (t *transfer) sendNow(p []byte) {
	t.e.mu.Lock()
	defer t.e.unlock()
	t.line.out.packet(&t.route, p)
}

// recv waits for a packet of an upload's client until then, and returns
// os.ErrDeadlineExceeded at that time, or the context's cause.
func (t *transfer) recv(p []byte, until time.Time) (int, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case q := <-t.in:
		return copy(p, q), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	case <-t.ctx.Done():
		return 0, context.Cause(t.ctx)
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
	t       *transfer
	granted Options
	timing  Timing
	rto     *rto
	w       io.WriteCloser
	srv     *pin.Server
	turn    chan struct{} // holds a token when pin can be handed a packet
	over    chan struct{} // closed: it will be handed none any more
	done    chan struct{} // closed: the outcome is known

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

func newUpload(t *transfer, w io.WriteCloser) *upload {
	u := &upload{
		t: t, timing: t.e.timing, rto: newRTO(t.e.timing), w: w, granted: t.grant(nil),
		turn: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}),
	}
	u.turn <- struct{}{}
	// pin takes blocks from 512 bytes and knows no windows.
	u.granted.Windowsize = 0
	u.granted.Blksize = min(u.granted.Blksize, rxLen-headerLen-1)
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
	case err == nil && u.t.req.Options.TSize && u.t.req.Mode == "octet" && n != u.t.req.Options.Size:
		err = fmt.Errorf("%d bytes came, %d were announced: %w", n, u.t.req.Options.Size, io.ErrUnexpectedEOF)
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
		n, err := u.t.recv(u.buf, until)
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
				u.t.hear()
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
	u.t.sendNow(u.last)
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
		u.say(err)
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
	u.t.sendNow(u.last)
	u.sent = time.Now()
	u.turn <- struct{}{}
	return len(p), nil
}

// say tells the client why the upload ends, unless it was the client that ended
// it, said nothing for long, or began another.
func (u *upload) say(err error) {
	var told peerError
	var busy *Error
	switch cause := context.Cause(u.t.ctx); {
	case errors.Is(cause, errReplaced), errors.Is(cause, errGaveWay), errors.Is(cause, errGone), errors.As(err, &told), errors.Is(err, errSilent):
	case cause != nil && !errors.As(cause, &busy):
		u.t.sendNow(appendError(nil, errStopping))
	default:
		u.t.sendNow(appendError(nil, wireError(err)))
	}
}

// hear notes that the client of an upload is there; where there is no room for
// it the transfer has ended.
func (t *transfer) hear() {
	t.e.mu.Lock()
	defer t.e.unlock()
	t.answered()
}

// dally repeats the last ACK for a while, RFC 1350 section 6.
func (u *upload) dally(d time.Duration) {
	for until := time.Now().Add(d); ; {
		n, err := u.t.recv(u.buf, until)
		if err != nil || opcode(u.buf[:n]) == opERROR {
			return
		}
		if block, _, ok := parseBlock(u.buf[:n]); ok && opcode(u.buf[:n]) == opDATA && block == u.acked {
			u.t.sendNow(u.last)
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
