package upload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	pin "github.com/pin/tftp/v3"

	"github.com/bootlace/bootlace/boot/tftp"
)

// The opcodes that this package and pin say to each other, RFC 1350 section 5
// and RFC 2347.
const (
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6

	headerLen      = 4 // of DATA, ACK and ERROR
	defaultBlksize = 512
)

// A Receiver is a tftp.Uploader.
type Receiver struct {
	// Create takes the file of a write request. The context ends with the
	// transfer. Close is called once the whole file was written, and the client
	// is told of success only after it returned nil. Of a transfer that failed
	// CloseWithError is called instead where the writer has it, as an
	// *io.PipeWriter does.
	Create func(ctx context.Context, r *tftp.Request) (io.WriteCloser, error)
}

// Receive is for package tftp. A file that is not as long as its client
// announced is io.ErrUnexpectedEOF.
func (r *Receiver) Receive(ctx context.Context, u *tftp.Upload) (int64, error) {
	w, err := r.Create(ctx, u.Request)
	if err != nil {
		return 0, err
	}
	c := newConversation(u, w)
	c.pin.Serve(c)
	<-c.done
	return c.bytes, c.err
}

// A conversation is one transfer to a pin/tftp server of its own. That server
// takes it for a net.PacketConn that hears a single client.
//
// Pin's server crashes on DATA larger than was agreed on, and when a packet
// comes just as a transfer ends. It tells clients the text of any error. So the
// two take turns: it is handed one packet at a time, only the DATA that is
// next, and no other before it has answered. Retransmission and ERRORs are the
// engine's.
type conversation struct {
	u    *tftp.Upload
	w    io.WriteCloser
	pin  *pin.Server
	turn chan struct{} // pin may be handed a packet
	over chan struct{} // pin is handed nothing more
	done chan struct{} // the outcome is known

	request []byte // for pin; then nil
	cause   error  // why pin was handed an ERROR

	werr  error // of w
	bytes int64
	err   error // the outcome
}

func newConversation(u *tftp.Upload, w io.WriteCloser) *conversation {
	c := &conversation{
		u: u, w: w,
		turn: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}),
	}
	c.turn <- struct{}{}
	// Nothing of the client's own words is handed on.
	c.request = append([]byte{0, opWRQ}, "upload\x00"+u.Request.Mode+"\x00"...)
	if u.Blksize != defaultBlksize {
		c.request = append(c.request, "blksize\x00"+strconv.Itoa(u.Blksize)+"\x00"...)
	}

	c.pin = pin.NewServer(nil, c.store)
	c.pin.EnableSinglePort()             // else it opens a socket on another address
	c.pin.SetBlockSizeNegotiation(false) // the engine has negotiated
	c.pin.SetBlockSize(u.Blksize)        // also the size of its buffers
	c.pin.SetTimeout(24 * time.Hour)     // the engine retransmits
	c.pin.SetBackoff(func(int) time.Duration { return 0 })
	return c
}

// store is pin's handler: the ACK of the last block goes out when it returns
// nil.
func (c *conversation) store(_ string, wt io.WriterTo) error {
	defer close(c.done)
	defer c.pin.Shutdown()
	defer c.end()
	n, err := wt.WriteTo(writerFunc(func(p []byte) (n int, err error) {
		n, c.werr = c.w.Write(p)
		return n, c.werr
	}))
	asked := c.u.Request.Options
	switch {
	case err == nil && asked.TSize && c.u.Request.Mode == "octet" && n != asked.Size:
		err = fmt.Errorf("%d bytes came, %d were announced: %w", n, asked.Size, io.ErrUnexpectedEOF)
	case err != nil:
		err = c.reason(err)
	}
	if err == nil {
		err = c.w.Close()
	} else {
		abandon(c.w, err)
	}
	c.bytes, c.err = n, err
	return err
}

// reason finds what is behind an error of pin's.
func (c *conversation) reason(err error) error {
	switch {
	case c.cause != nil:
		return c.cause
	case c.werr != nil:
		return c.werr
	}
	return err
}

// end hands pin no more packets.
func (c *conversation) end() {
	select {
	case <-c.over:
	default:
		close(c.over)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// abandon ends a file that is not whole.
func abandon(w io.WriteCloser, err error) {
	if c, ok := w.(interface{ CloseWithError(error) error }); ok {
		c.CloseWithError(err)
		return
	}
	w.Close()
}

// ReadFrom hands pin the request, then block by block, or an ERROR that ends
// it.
func (c *conversation) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case <-c.over:
	case <-c.turn:
	}
	select {
	case <-c.over: // which counts for more
		time.Sleep(time.Millisecond) // pin comes again until its transfer has ended
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	if c.request != nil {
		n := copy(p, c.request)
		c.request = nil
		return n, c.LocalAddr(), nil
	}
	block, data, err := c.u.Next()
	if err != nil {
		c.cause = err
		return copy(p, "\x00\x05\x00\x00cancelled\x00"), c.LocalAddr(), nil
	}
	n := copy(p, []byte{0, opDATA, byte(block >> 8), byte(block)})
	return n + copy(p[n:], data), c.LocalAddr(), nil
}

// WriteTo has the engine say what pin says.
func (c *conversation) WriteTo(p []byte, _ net.Addr) (int, error) {
	if len(p) < headerLen {
		return 0, errors.ErrUnsupported
	}
	switch binary.BigEndian.Uint16(p) {
	case opERROR:
		c.end() // the engine tells the client
		return len(p), nil
	case opACK:
		c.u.Acknowledge(binary.BigEndian.Uint16(p[2:]))
	case opOACK:
		c.u.Acknowledge(0)
	}
	c.turn <- struct{}{}
	return len(p), nil
}

// LocalAddr stands for both ends: pin only wants to parse it.
func (c *conversation) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 69}
}

// Close closes nothing: the socket is the engine's.
func (c *conversation) Close() error { return nil }

// SetReadDeadline is how pin wakes ReadFrom to stop. The channel over has done
// so.
func (c *conversation) SetReadDeadline(time.Time) error { return nil }

// SetDeadline is for net.PacketConn; pin does not call it.
func (c *conversation) SetDeadline(time.Time) error { return errors.ErrUnsupported }

// SetWriteDeadline is for net.PacketConn; pin does not call it.
func (c *conversation) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
