package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
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
	u.run()
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
// That server crashes on DATA larger than the block agreed on, can panic when a
// packet comes as a transfer ends, never ends while a client repeats one
// packet, and tells clients the text of any error. So a packet reaches it only
// after a check, and its own ERRORs are replaced.
type upload struct {
	ctx     context.Context
	peer    peer
	req     *Request
	granted Options
	timing  Timing
	w       io.WriteCloser
	srv     *pin.Server
	first   []byte // the request, for pin; then nil
	buf     []byte // from the peer
	done    chan struct{}

	mu       sync.Mutex
	progress time.Time // of the last new ACK
	heard    bool      // DATA came
	sent     int       // packets before that
	last     []byte    // ACK or OACK, as sent
	told     error     // the peer's ERROR
	werr     error     // of w
	shut     bool
	ended    bool // the peer, or we, gave up: pin is fed an ERROR
	bytes    int64
	resent   int
	err      error
}

func newUpload(ctx context.Context, e *engine, t *transfer, p peer, w io.WriteCloser) *upload {
	u := &upload{
		ctx: ctx, peer: p, req: &t.req, timing: e.timing, w: w,
		granted: e.grant(t), done: make(chan struct{}), progress: time.Now(),
	}
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
	u.srv.SetTimeout(u.wait())
	u.srv.SetRetries(u.timing.Retries)
	u.srv.SetBackoff(func(int) time.Duration { return 0 })
	return u
}

// wait is the time after which an ACK is repeated: fixed, as pin has it.
func (u *upload) wait() time.Duration {
	if u.granted.Timeout > 0 {
		return u.granted.Timeout
	}
	return u.timing.Initial
}

// run returns when the transfer has ended, with its outcome in u.err.
func (u *upload) run() {
	func() {
		// pin's loop can send on a channel that the transfer has just closed.
		// The transfer is over then, and its outcome known.
		defer func() { recover() }()
		u.srv.Serve(u)
	}()
	<-u.done
}

// receive is pin's handler: the ACK of the last block goes out when it returns nil.
func (u *upload) receive(_ string, wt io.WriterTo) (err error) {
	defer close(u.done)
	defer u.srv.Shutdown()
	n, err := u.writeTo(wt)
	u.mu.Lock()
	switch {
	case u.told != nil:
		err = u.told
	case u.werr != nil:
		err = u.werr
	case err != nil && u.ctx.Err() != nil:
		err = context.Cause(u.ctx)
	case err != nil:
		err = errSilent
	case u.req.Options.TSize && u.req.Mode == "octet" && n != u.req.Options.Size:
		err = fmt.Errorf("%d bytes came, %d were announced: %w", n, u.req.Options.Size, io.ErrUnexpectedEOF)
	}
	u.mu.Unlock()
	if err == nil {
		err = u.w.Close()
	} else {
		closeWriter(u.w, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes, u.err = n, err
	return err
}

// writeTo copies to the writer; a panic of pin's is an error of this transfer.
func (u *upload) writeTo(wt io.WriterTo) (n int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("receive: %v", r)
		}
	}()
	return wt.WriteTo(writerFunc(func(p []byte) (int, error) {
		n, err := u.w.Write(p)
		if err != nil {
			u.mu.Lock()
			u.werr = err
			u.mu.Unlock()
		}
		return n, err
	}))
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

// ReadFrom hands pin the request, and then what it can take of the client.
func (u *upload) ReadFrom(p []byte) (int, net.Addr, error) {
	if u.first != nil {
		n := copy(p, u.first)
		u.first = nil
		return n, u.LocalAddr(), nil
	}
	for {
		n, err := u.peer.recv(u.buf, time.Now().Add(100*time.Millisecond))
		u.mu.Lock()
		ended, shut := u.ended, u.shut
		if err != nil {
			n = 0
		} else {
			n = u.take(p, u.buf[:n])
		}
		if u.ctx.Err() != nil || time.Since(u.progress) > u.wait()*time.Duration(u.timing.Retries+1) {
			u.ended = true
		}
		if u.ended {
			n = copy(p, appendError(nil, errCancelled))
		}
		u.mu.Unlock()
		if shut || ended {
			time.Sleep(time.Millisecond) // pin comes again until its transfer has ended
		}
		switch {
		case shut:
			return 0, nil, os.ErrDeadlineExceeded
		case n > 0:
			return n, u.LocalAddr(), nil
		}
	}
}

// take copies to p what pin may see of a packet, and returns 0 for the rest.
func (u *upload) take(p, packet []byte) int {
	switch opcode(packet) {
	case opDATA:
		if len(packet) < headerLen || len(packet) >= len(u.buf) {
			return 0
		}
		u.heard = true
		return copy(p, packet)
	case opERROR:
		if u.told == nil {
			u.told = peerError{parseError(packet)}
		}
		u.ended = true
	}
	return 0
}

// WriteTo sends what pin says, in our words.
func (u *upload) WriteTo(p []byte, _ net.Addr) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch opcode(p) {
	case opERROR:
		for _, err := range []error{u.told, u.werr, u.err, errSilent} {
			if err != nil {
				sendError(u.ctx, u.peer, err)
				break
			}
		}
		return len(p), nil
	case opACK, opOACK:
		out := bytes.Clone(p)
		if !u.heard {
			if u.sent++; u.sent > 1+u.timing.First {
				return len(p), nil
			}
			// pin knows blksize alone: the whole answer to the request is ours.
			if (u.granted != Options{}) {
				out = appendOACK(nil, u.granted)
			}
		}
		if bytes.Equal(out, u.last) {
			u.resent++
		} else {
			u.last, u.progress = out, time.Now()
		}
		u.peer.send(out)
	}
	return len(p), nil
}

// dally repeats the last ACK for a while, RFC 1350 section 6.
func (u *upload) dally(d time.Duration) {
	for until := time.Now().Add(d); ; {
		n, err := u.peer.recv(u.buf, until)
		if err != nil || opcode(u.buf[:n]) == opERROR {
			return
		}
		if opcode(u.buf[:n]) == opDATA {
			u.peer.send(u.last)
		}
	}
}

// SetReadDeadline is pin's way to stop ReadFrom: no other use is made of it.
func (u *upload) SetReadDeadline(time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shut = true
	return nil
}

// LocalAddr stands for both ends: pin only wants to parse it.
func (u *upload) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 69} }

// Close leaves the peer open for dally.
func (u *upload) Close() error { return nil }

func (u *upload) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (u *upload) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
