package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/pin/tftp/v3/netascii"
)

// errSilent ends a transfer whose peer said nothing more.
var errSilent = errors.New("no answer")

// A peerError is an ERROR that the peer sent: it ended the transfer, and is
// not told of that.
type peerError struct{ said *Error }

func (e peerError) Error() string { return "ended by the peer: " + e.said.Error() }
func (e peerError) Unwrap() error { return e.said }

// download serves a read request.
func (e *engine) download(ctx context.Context, t *transfer, res *Result) {
	src, err := e.Open(ctx, &t.req)
	if err != nil {
		res.Err = e.refuse(t, err)
		return
	}
	if src.Close != nil {
		defer src.Close()
	}
	p, err := e.dial(ctx, t)
	if err != nil {
		res.Err = e.refuse(t, fmt.Errorf("open a socket for the transfer: %w", err))
		return
	}
	defer p.close()

	o := e.grant(t)
	s := &sender{peer: p, timing: e.timing, rto: newRTO(e.timing), in: make([]byte, 1024), window: 1, stalled: t.stalled.Store,
		answered: sync.OnceFunc(func() { e.answered(t) })}
	blksize := defaultBlksize
	if o.Blksize > 0 {
		blksize = o.Blksize
	}
	if t.req.Mode == "netascii" {
		// Blocks are made in order, so one at a time; and the size on the wire
		// is not known before the end.
		o.TSize, o.Windowsize = false, 0
		s.load = netasciiBlocks(src)
	} else {
		o.Size = 0
		if o.TSize {
			o.Size = src.Size
		}
		s.load = octetBlocks(src)
	}
	s.buf = make([]byte, headerLen+blksize)
	s.window = max(o.Windowsize, 1)
	res.Granted = o

	err = s.run(o)
	res.Bytes, res.Resent = s.acked, s.resent
	var told peerError
	switch {
	case err == nil:
	case s.offered && !s.agreed && o.TSize && errors.As(err, &told):
		res.Probe = true
	default:
		sendError(ctx, p, err)
		res.Err = fmt.Errorf("send %q: %w", t.req.Name, err)
	}
}

// octetBlocks reads blocks at any place, so that none need be kept for resends.
func octetBlocks(src *Source) func(n int64, p []byte) (int, error) {
	return func(n int64, p []byte) (int, error) {
		off := (n - 1) * int64(len(p))
		p = p[:min(int64(len(p)), max(src.Size-off, 0))]
		k, err := src.ReadAt(p, off)
		if k == len(p) {
			return k, nil
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return k, fmt.Errorf("read at %d: %w", off+int64(k), err)
	}
}

// netasciiBlocks encodes line ends as RFC 764 has them, in order.
func netasciiBlocks(src *Source) func(n int64, p []byte) (int, error) {
	r := netascii.ToReader(io.NewSectionReader(src, 0, src.Size))
	return func(_ int64, p []byte) (int, error) {
		k, err := io.ReadFull(r, p)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil
		}
		return k, err
	}
}

// A sender sends a file as blocks 1, 2, …; on the wire their numbers roll over
// to 0. It keeps one block in memory.
type sender struct {
	peer    peer
	timing  Timing
	rto     *rto
	load    func(n int64, p []byte) (int, error) // block n, less than len(p) bytes of it: the last
	window  int
	stalled func(bool)

	answered func() // called when the client answers

	buf  []byte // DATA
	held int64  // block in buf
	size int    // its bytes
	in   []byte

	acked           int64 // bytes
	resent          int
	offered, agreed bool // OACK was sent, and answered by ACK 0

	base, high  int64     // last block acknowledged; highest sent
	last, total int64     // the final block, -1 while it is not known, and the bytes up to its end
	sent        time.Time // the window
	resends     int       // timeouts in a row
	heard       bool      // the client has answered anything
	clean       bool      // nothing of the window was resent
	doubt       int64     // up to this block, see measure
	trust       bool      // the last ACK once more may stand for a gap
}

func (s *sender) run(o Options) error {
	if (o != Options{}) {
		if err := s.offer(o); err != nil {
			return err
		}
	}
	return s.data()
}

// offer sends the OACK until it is answered.
func (s *sender) offer(o Options) error {
	oack := appendOACK(nil, o)
	s.offered = true
	for try := 0; ; try++ {
		s.peer.send(oack)
		sent := time.Now()
		block, err := uint16(0), error(nil)
		for {
			if block, err = s.ack(sent.Add(s.rto.wait())); err != nil || block == 0 {
				break
			}
		}
		switch {
		case err == nil:
			if try == 0 {
				s.rto.sample(time.Since(sent))
			}
			s.agreed = true
			s.answered()
			s.rto.fixed = o.Timeout // holds from here: before, the client had not agreed
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case try == s.timing.First:
			return fmt.Errorf("options: %w", errSilent)
		}
		s.rto.backoff()
		s.resent++
	}
}

// data sends the blocks, window by window.
func (s *sender) data() error {
	s.last, s.clean, s.trust, s.heard = -1, true, true, s.agreed
	for {
		if err := s.sendWindow(); err != nil {
			return err
		}
		if err := s.awaitACK(); err != nil {
			return err
		}
		if s.base == s.last {
			return nil
		}
	}
}

// sendWindow sends what follows base.
func (s *sender) sendWindow() error {
	for n := s.base + 1; n <= s.base+int64(s.window) && (s.last < 0 || n <= s.last); n++ {
		if err := s.block(n); err != nil {
			return err
		}
		if blksize := len(s.buf) - headerLen; s.size < blksize {
			s.last, s.total = n, (n-1)*int64(blksize)+int64(s.size)
		}
		if n <= s.high {
			s.resent++
		}
		s.high = max(s.high, n)
	}
	s.sent = time.Now()
	return nil
}

// awaitACK returns nil when the window that follows base is to be sent: after
// an ACK, or again after a timeout.
func (s *sender) awaitACK() error {
	until := s.sent.Add(s.rto.wait())
	gap := false // the last ACK came once more
	for {
		block, err := s.ack(until)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && gap:
			s.clean, s.trust, s.doubt = false, false, s.high
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.resends++; s.resends > s.timing.Retries || !s.heard && s.resends > s.timing.First {
				return fmt.Errorf("%d bytes acknowledged: %w", s.acked, errSilent)
			}
			s.rto.backoff()
			s.clean, s.trust, s.doubt = false, true, s.high
			s.stalled(s.heard)
			return nil
		case err != nil:
			return err
		}
		switch ahead := int64(block - uint16(s.base)); {
		case ahead > s.high-s.base:
			// Old, or never sent.
		case ahead > 0:
			s.progress(s.base + ahead)
			return nil
		case s.window > 1 && s.trust && !gap:
			// The window's first block is missing, or the network doubled the
			// ACK. If the client has the window, its own ACK comes within the
			// grace. In lockstep it is always a duplicate, and answering one
			// would double every packet from there on: the Sorcerer's
			// Apprentice, RFC 1123 section 4.2.3.1.
			gap = true
			if soon := time.Now().Add(s.rto.grace()); soon.Before(until) {
				until = soon
			}
		}
	}
}

// progress takes an ACK. If it is for less than was sent it stands at a gap,
// and what follows is sent again, RFC 7440 section 4.
func (s *sender) progress(base int64) {
	whole := s.clean && base == s.high
	s.measure(base)
	s.trust = whole // where blocks went out twice, so may ACKs
	s.clean = base == s.high
	s.base, s.heard, s.resends = base, true, 0
	s.acked = base * int64(len(s.buf)-headerLen)
	if base == s.last {
		s.acked = s.total
	}
	s.stalled(false)
	s.answered()
}

// measure takes a round trip from an ACK of a window that needed no timeout. Up
// to doubt blocks were sent again while they may have been on their way, so an
// ACK may be for either (Karn). One of that kind, or one at a gap, only takes
// back half of what timeouts doubled, if it came soon: where hardly a window of
// 64 comes whole nothing else would. A slow link takes longer for the whole of
// a window than for the part before a gap, by up to their ratio.
func (s *sender) measure(base int64) {
	const most = 8 // of that ratio: more would make a delay on the machine look like a slow link
	took, part := time.Since(s.sent), base-s.base
	switch whole := s.high - s.base; {
	case s.resends > 0:
	case part == whole && base > s.doubt:
		s.rto.sample(took)
	case took*time.Duration(min(whole, most*part))/time.Duration(part) < s.rto.value/2:
		s.rto.ease()
	}
}

// block sends block n.
func (s *sender) block(n int64) error {
	if n != s.held {
		k, err := s.load(n, s.buf[headerLen:])
		if err != nil {
			return err
		}
		s.held, s.size = n, k
	}
	appendHeader(s.buf[:0], opDATA, uint16(n))
	// What cannot be sent is a packet lost: the link may come back.
	s.peer.send(s.buf[:headerLen+s.size])
	return nil
}

// ack waits for an ACK. Other packets of the peer are ignored, and gain it no
// time; an ERROR is a peerError.
func (s *sender) ack(until time.Time) (uint16, error) {
	for {
		n, err := s.peer.recv(s.in, until)
		if err != nil {
			return 0, err
		}
		switch p := s.in[:n]; opcode(p) {
		case opACK:
			if block, _, ok := parseBlock(p); ok {
				return block, nil
			}
		case opERROR:
			return 0, peerError{parseError(p)}
		}
	}
}
