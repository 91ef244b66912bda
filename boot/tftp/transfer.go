package tftp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// errSilent ends a transfer whose peer said nothing more.
var errSilent = errors.New("no answer")

// A peerError is an ERROR that the peer sent: it ended the transfer, and is
// not told of that.
type peerError struct{ said *Error }

func (e peerError) Error() string { return "ended by the peer: " + e.said.Error() }

func (e peerError) Unwrap() error { return e.said }

// A transfer is one request being served. A download sends a file as blocks 1,
// 2, …; what follows is guarded by the engine's lock.
type transfer struct {
	e      *engine
	req    Request
	asked  []byte // the request as it came, to know it again
	peer   netip.AddrPort
	line   *line
	at     local
	route  route
	began  time.Time
	moved  time.Time // when the client last acknowledged something new
	ctx    context.Context
	cancel context.CancelCauseFunc
	in     chan []byte // of an upload: its packets

	over    bool // nothing more becomes of it
	gone    bool // its client's port was closed, and nothing was heard since
	stalled bool // the client is silent: its request once more means that it started afresh
	waits   bool // half-open
	counted bool // in clients and established

	older, newer *transfer // that is half-open
	due, queued  time.Time // of the clock
	slot         int       // there, or -1

	// Of a download.
	file    *file
	granted Options
	blksize int
	window  int
	oack    []byte // sent, and not yet answered
	rto     rto
	resends int // timeouts in a row
	resent  int // packets
	probed  bool
	pieces  [2]*chunk // that were last sent from
	missing *chunk    // that is waited for
	head    []byte    // of the block that needs it, from the chunk before

	base, high int64     // last block acknowledged; highest sent
	next       int64     // to be sent
	last       int64     // the final block, -1 while it is not known
	total      int64     // bytes up to its end
	acked      int64     // bytes
	sent       time.Time // the window
	clean      bool      // nothing of the window was resent
	doubt      int64     // up to this block, see measure
	rescued    bool      // by a timeout: then to wait longer does not help at once
	trust      bool      // the last ACK once more may stand for a gap
	gap        bool      // it came once more
	resting    bool      // in mid-window
	burst      int       // blocks that are sent at a time, see slower
	pace       time.Duration
}

// open finds the file of a read request; it runs beside the engine.
func (t *transfer) open() {
	if t.ctx.Err() != nil {
		return // it has ended meanwhile
	}
	var src *Source
	var err error = errMode
	if t.req.Mode == "octet" || t.req.Mode == "netascii" { // and not "mail", RFC 1350 section 1
		src, err = t.e.Open(t.ctx, &t.req)
	}
	var granted Options
	if err == nil {
		granted = t.grant(src)
		if t.req.Mode == "netascii" {
			src = netasciiSource(src)
		}
	}
	if spare := t.opened(src, granted, err); spare != nil {
		spare.close()
	}
}

// opened goes on with the file, and returns it if it is not needed.
func (t *transfer) opened(src *Source, granted Options, err error) (spare *Source) {
	t.e.mu.Lock()
	defer t.e.unlock()
	t.e.now = time.Now()
	switch {
	case t.ctx.Err() != nil: // it has ended meanwhile, or all do
		t.end(context.Cause(t.ctx))
		return src
	case err == nil && !t.e.room(src, t):
		t.e.Counters.Refused.Add(1)
		t.e.warn("TFTP request refused: too many files are open", "client", t.peer, "files", t.e.cache.open)
		spare, err = src, errBusy
		fallthrough
	case err != nil:
		t.e.reply(t.e.ask, t.peer, t.at, err)
		t.conclude(err)
	default:
		t.file, spare = t.e.cache.take(src)
		t.start(granted)
	}
	return spare
}

// grant decides on the options of a request: of blksize and windowsize at most
// what was asked, the rest as asked or not at all.
func (t *transfer) grant(src *Source) Options {
	o := t.req.Options
	if o.Blksize > 0 {
		o.Blksize = min(o.Blksize, t.e.limits.Blksize)
	}
	if o.Blksize > defaultBlksize && !t.e.Fragments { // which every path carries
		o.Blksize = min(o.Blksize, mostBlksize(pathMTU(t.at.addr, t.req.Remote), t.req.Remote.Addr()))
	}
	o.Windowsize = min(o.Windowsize, t.e.limits.Windowsize)
	if src == nil {
		return o
	}
	if src.Windowsize > 0 {
		o.Windowsize = min(o.Windowsize, src.Windowsize)
	}
	o.Size = 0
	if o.TSize {
		o.Size = src.Size
	}
	if t.req.Mode == "netascii" {
		o.TSize = false // its size on the wire is not known before the end
	}
	return o
}

// start answers the request: with an OACK, or with the first block.
func (t *transfer) start(o Options) {
	t.granted, t.rto = o, *newRTO(t.e.timing)
	t.blksize, t.window = defaultBlksize, max(o.Windowsize, 1)
	if o.Blksize > 0 {
		t.blksize = o.Blksize
	}
	t.burst, t.clean, t.trust, t.last = t.window, true, true, -1
	if t.file.size >= 0 {
		t.last = t.file.size/int64(t.blksize) + 1
	}
	if t.window > 1 && !t.e.whole[t.route.ifindex] {
		t.route.segmented(headerLen + t.blksize)
	}
	if (o != Options{}) {
		t.oack = appendOACK(nil, o)
		t.offer()
		t.e.cache.chunk(t.file, 0)
		return
	}
	t.sendWindow()
}

// offer sends the OACK.
func (t *transfer) offer() {
	t.line.out.packet(&t.route, t.oack)
	t.sent = t.e.now
	t.e.clock.timeout(t, t.e.now, t.rto.wait())
}

// packet takes one of the client's.
func (t *transfer) packet(op uint16, p []byte) {
	switch {
	case t.in != nil:
		select {
		case t.in <- append([]byte(nil), p...):
		default: // as full as a socket's buffer can be
		}
	case t.file == nil: // nothing was sent yet
	case op == opERROR:
		t.end(peerError{parseError(p)})
	case op == opACK:
		if block, _, ok := parseBlock(p); ok {
			t.ack(block)
		}
	}
}

// answered notes that the client is there, and returns false where there is no
// room for it.
func (t *transfer) answered() bool {
	if !t.e.half(t).remove(t) {
		return true
	}
	client := t.peer.Addr()
	t.moved = t.e.now
	if t.e.full(client) {
		t.e.reclaim(func(o *transfer) bool { return t.e.established >= t.e.limits.Transfers || o.peer.Addr() == client })
	}
	if t.e.full(client) {
		t.e.Counters.Refused.Add(1)
		t.e.warn("TFTP transfer refused: too many", "client", t.peer, "transfers", t.e.established, "of the client", t.e.clients[client])
		t.end(errBusy)
		return false
	}
	t.counted = true
	t.e.established++
	t.e.clients[client]++
	return true
}

// end ends a transfer, tells the client why unless it was the client that ended
// it, said nothing for long, or began another, and reports it.
func (t *transfer) end(err error) {
	if t.over {
		return
	}
	if t.in != nil {
		t.cancel(err) // the upload says the rest
		t.leave()
		return
	}
	var told peerError
	switch {
	case err == nil, errors.Is(err, errReplaced), errors.Is(err, errGaveWay), errors.Is(err, errGone), errors.Is(err, errSilent):
	case errors.As(err, &told):
		if t.oack != nil && t.granted.TSize {
			t.probed, err = true, nil
		}
	case t.ctx.Err() != nil:
		t.line.out.packet(&t.route, appendError(nil, errStopping))
	default:
		t.line.out.packet(&t.route, appendError(nil, wireError(err)))
	}
	if err != nil {
		err = fmt.Errorf("send %q: %w", t.req.Name, err)
	}
	t.conclude(err)
}

// conclude takes a download away and reports it.
func (t *transfer) conclude(err error) {
	t.leave()
	src := t.e.cache.close(t.file)
	t.cancel(nil)
	quiet := errors.Is(err, errGaveWay) || t.file == nil && errors.Is(err, errReplaced)
	if quiet && src == nil {
		return
	}
	r := Result{Request: t.req, Granted: t.granted, Bytes: t.acked, Took: t.e.now.Sub(t.began), Resent: t.resent, Err: err, Probe: t.probed}
	t.e.crew.do(t.e, job{run: func() {
		if src != nil {
			src.close()
		}
		if t.e.Done != nil && !quiet {
			t.e.Done(r)
		}
	}})
}

// leave takes a transfer out of the engine's lists.
func (t *transfer) leave() {
	if t.over {
		return
	}
	t.over = true
	if k := t.missing; k != nil {
		k.waiting = slices.DeleteFunc(k.waiting, func(w *transfer) bool { return w == t })
		t.missing = nil
	}
	t.e.half(t).remove(t)
	t.e.clock.unset(t)
	if t.e.active[t.peer] == t {
		delete(t.e.active, t.peer)
	}
	if client := t.peer.Addr(); t.counted {
		t.e.established--
		if t.e.clients[client]--; t.e.clients[client] == 0 {
			delete(t.e.clients, client)
		}
	}
}

func (s *Source) close() {
	if s.Close != nil {
		s.Close()
	}
}
