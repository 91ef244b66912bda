package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	s := &sender{peer: p, timing: e.timing, rto: newRTO(e.timing), in: make([]byte, 1024), window: 1, stalled: t.stalled.Store}
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

	buf  []byte // DATA
	held int64  // block in buf
	size int    // its bytes
	in   []byte

	acked           int64 // bytes
	resent          int
	offered, agreed bool // OACK was sent, and answered by ACK 0
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

// data sends the blocks. base is the last block that was acknowledged, high
// the highest that was sent, last the final one once it is known.
func (s *sender) data() error {
	blksize := int64(len(s.buf) - headerLen)
	base, high, last := int64(0), int64(0), int64(-1)
	total := int64(0) // bytes, with last
	resends := 0      // timeouts in a row
	clean := true     // nothing of the window was resent: its round trip can be measured
	trust := true     // the last ACK once more may be a gap's
	heard := s.agreed
	for {
		began := time.Now()
		for n := base + 1; n <= base+int64(s.window) && (last < 0 || n <= last); n++ {
			if err := s.block(n); err != nil {
				return err
			}
			if int64(s.size) < blksize {
				last, total = n, (n-1)*blksize+int64(s.size)
			}
			if n <= high {
				s.resent++
			}
			high = max(high, n)
		}
		sent := time.Now()
		until := sent.Add(s.rto.wait())
	wait:
		for {
			block, err := s.ack(until)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				if resends++; resends > s.timing.Retries || !heard && resends > s.timing.First {
					return fmt.Errorf("block %d of %d bytes acknowledged: %w", base, s.acked, errSilent)
				}
				s.rto.backoff()
				clean, trust = false, true
				s.stalled(heard)
				break wait
			case err != nil:
				return err
			}
			ahead := int64(block - uint16(base))
			switch {
			case ahead > high-base:
				// Old, or never sent.
			case ahead > 0:
				base += ahead
				s.acked = base * blksize
				if base == last {
					s.acked = total
					return nil
				}
				if clean && base == high {
					s.rto.sample(time.Since(sent))
				}
				// Less than the window is an ACK at a gap: what follows it is
				// sent again, RFC 7440 section 4.
				// Where blocks went out twice, so may ACKs.
				trust = clean && base == high
				clean, heard, resends = base == high, true, 0
				s.stalled(false)
				break wait
			case ahead == 0 && s.window > 1 && trust && time.Since(began) >= s.rto.soonest():
				// The last ACK once more says that the window's first block is
				// missing, if the client can have seen the window and nothing was
				// resent just before; else it is a duplicate. In lockstep it always
				// is one, and answering it would double every packet from there on:
				// the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1.
				clean, trust = false, false
				break wait
			}
		}
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
