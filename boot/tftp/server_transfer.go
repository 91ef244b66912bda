package tftp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A transfer is one request being served. The engine's lock guards it. It is the
// protocol's state machine, drawn in the package's doc, so it has a method for
// each event and each step.
type transfer struct {
	e        *engine
	req      Request
	packet   []byte // the request as it came, to know a retransmission of it
	peer     netip.AddrPort
	endpoint *endpoint // where it goes on
	local    udp.Local
	route    udp.Route
	began    time.Time
	ctx      context.Context
	cancel   context.CancelCauseFunc
	packets  chan []byte // of an upload, from its client; nil: a download

	life  lifecycle
	timer timer

	// Of a download.
	file *file
	neg  negotiation
	rto  rto
	win  window
	pace pacing
	read reading
}

// lifecycle is what is known of a transfer and its client.
type lifecycle struct {
	ended       bool      // nothing more becomes of it
	halfOpen    bool      // its client has not answered yet, and it is in a queue
	established bool      // it counts against Limits.Transfers and PerClient
	unreachable bool      // ICMP said that the client's port is closed, and nothing came since
	silent      bool      // a timeout passed: the same request is now a new one
	progress    time.Time // when the client last acknowledged something new

	older, newer *transfer // in that queue
}

// negotiation is what the options came to (RFC 2347).
type negotiation struct {
	granted Options
	blksize int    // bytes
	oack    []byte // sent, and not acknowledged yet; else nil
	probe   bool   // the client ended the transfer once it had been told the size
}

// reading is what a download has in hand of its file.
type reading struct {
	chunks  [2]*chunk // that were last sent from
	missing *chunk    // that is waited for; else nil
	head    []byte    // of a block that goes on in the missing chunk
}

// open finds the file of a read request. It runs without the engine's lock.
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

// opened starts the transfer with the file that was opened. It returns a source
// that is not needed.
func (t *transfer) opened(src *Source, granted Options, err error) (spare *Source) {
	t.e.mu.Lock()
	defer t.e.unlock()
	t.e.now = time.Now()
	switch {
	case t.ctx.Err() != nil: // it has ended meanwhile, or all do
		t.end(context.Cause(t.ctx))
		return src
	case err == nil && !t.e.mayOpen(src, t):
		t.e.Counters.Refused.Add(1)
		t.e.warn("TFTP request refused: too many files are open", "client", t.peer, "files", t.e.cache.open)
		spare, err = src, errBusy
		fallthrough
	case err != nil:
		t.e.reply(t.e.requests, t.peer, t.local, err)
		t.conclude(err)
	default:
		t.file, spare = t.e.cache.take(src)
		t.start(granted)
	}
	return spare
}

// grant decides on the options of a request. Of blksize and windowsize it
// grants at most what was asked (RFC 2348, RFC 7440 section 3). The others are
// granted as asked or not at all (RFC 2349).
func (t *transfer) grant(src *Source) Options {
	o := t.req.Options
	if o.Blksize > 0 {
		o.Blksize = min(o.Blksize, t.e.limits.Blksize)
	}
	if o.Blksize > defaultBlksize && !t.e.Fragments { // every path carries the default
		mtu := t.endpoint.PathMTU(t.local.Addr, t.req.Remote)
		o.Blksize = min(o.Blksize, largestBlksize(mtu, t.req.Remote.Addr()))
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

// start answers the request: with an OACK, or with the first window.
func (t *transfer) start(o Options) {
	t.neg = negotiation{granted: o, blksize: defaultBlksize}
	if o.Blksize > 0 {
		t.neg.blksize = o.Blksize
	}
	t.rto = *newRTO(t.e.timing)
	size := max(o.Windowsize, 1)
	t.win = window{size: size, final: -1, clean: true, dupACKIsLoss: true}
	t.pace = pacing{burst: size}
	if t.file.size >= 0 {
		t.win.final = t.file.size/int64(t.neg.blksize) + 1
	}
	if size > 1 && !t.e.unsegmentable[t.route.Ifindex()] {
		t.route.Segment(headerLen + t.neg.blksize)
	}
	if (o != Options{}) {
		t.neg.oack = appendOACK(nil, o)
		t.sendOACK()
		t.e.cache.chunk(t.file, 0)
		return
	}
	t.sendWindow()
}

func (t *transfer) sendOACK() {
	t.endpoint.out.Packet(&t.route, t.neg.oack)
	t.win.sentAt = t.e.now
	t.e.timers.setTimeout(t, t.e.now, t.rto.timeout())
}

// handle takes a packet of the client's.
func (t *transfer) handle(op uint16, p []byte) {
	switch {
	case t.packets != nil:
		select {
		case t.packets <- slices.Clone(p):
		default: // as full as a socket's buffer can be
		}
	case t.file == nil: // nothing was sent yet
	case op == opERROR:
		t.end(peerError{parseError(p)})
	case op == opACK:
		if block, _, ok := parseBlock(p); ok {
			t.handleACK(block)
		}
	}
}

// establish notes that the client is there. Where there is no room for it the
// transfer ends, and establish returns false.
func (t *transfer) establish() bool {
	if !t.e.queueOf(t).remove(t) {
		return true
	}
	client := t.peer.Addr()
	t.life.progress = t.e.now
	if t.e.atLimit(client) {
		t.e.reclaim(func(o *transfer) bool {
			return t.e.established >= t.e.limits.Transfers || o.peer.Addr() == client
		})
	}
	if t.e.atLimit(client) {
		t.e.Counters.Refused.Add(1)
		t.e.warn("TFTP transfer refused: too many", "client", t.peer, "transfers", t.e.established, "of the client", t.e.clients[client])
		t.end(errBusy)
		return false
	}
	t.life.established = true
	t.e.established++
	t.e.clients[client]++
	return true
}

// end ends a transfer and reports it. The client is told why, unless it ended
// the transfer itself, fell silent or began another.
func (t *transfer) end(err error) {
	if t.life.ended {
		return
	}
	if t.packets != nil {
		t.cancel(err) // the upload says the rest
		t.remove()
		return
	}
	var told peerError
	switch {
	case err == nil || endsUntold(err):
	case errors.As(err, &told):
		if t.neg.oack != nil && t.neg.granted.TSize {
			t.neg.probe, err = true, nil
		}
	case t.ctx.Err() != nil:
		t.endpoint.out.Packet(&t.route, appendError(nil, errStopping))
	default:
		t.endpoint.out.Packet(&t.route, appendError(nil, wireError(err)))
	}
	if err != nil {
		err = fmt.Errorf("send %q: %w", t.req.Name, err)
	}
	t.conclude(err)
}

// endsUntold reports whether the client is not told of an error: there may be
// nobody, or it has gone on to something else.
func endsUntold(err error) bool {
	return errors.Is(err, errReplaced) || errors.Is(err, errGaveWay) || errors.Is(err, errGone) || errors.Is(err, errSilent)
}

// conclude removes a download, closes its file and reports it.
func (t *transfer) conclude(err error) {
	t.remove()
	src := t.e.cache.release(t.file)
	t.cancel(nil)
	unreported := errors.Is(err, errGaveWay) || t.file == nil && errors.Is(err, errReplaced)
	if unreported && src == nil {
		return
	}
	r := Result{
		Request: t.req, Granted: t.neg.granted, Bytes: t.win.bytes, Took: t.e.now.Sub(t.began),
		Resent: t.win.resent, Err: err, Probe: t.neg.probe,
	}
	t.e.workers.do(t.e, job{run: func() {
		if src != nil {
			src.close()
		}
		if t.e.Done != nil && !unreported {
			t.e.Done(r)
		}
	}})
}

// remove takes a transfer out of the engine's lists.
func (t *transfer) remove() {
	if t.life.ended {
		return
	}
	t.life.ended = true
	if k := t.read.missing; k != nil {
		k.waiting = slices.DeleteFunc(k.waiting, func(w *transfer) bool { return w == t })
		t.read.missing = nil
	}
	t.e.queueOf(t).remove(t)
	t.e.timers.stop(t)
	if t.e.active[t.peer] == t {
		delete(t.e.active, t.peer)
	}
	if client := t.peer.Addr(); t.life.established {
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
