package tftp

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Request is an RRQ or WRQ.
type Request struct {
	Name    string // as it was sent: nothing about it is checked
	Write   bool
	Mode    string         // octet or netascii
	Remote  netip.AddrPort // the client
	Local   netip.AddrPort // the address that was asked; the answers leave from there
	Options Options        // as asked; malformed and unknown ones are left out
}

// A Source is what a download reads.
type Source struct {
	io.ReaderAt
	Size  int64        // bytes
	Close func() error // may be nil
}

// A Result is what became of one request.
type Result struct {
	Request
	Granted Options
	Bytes   int64 // of the file, that the client acknowledged or that were stored
	Took    time.Duration
	Resent  int   // packets
	Err     error // nil: the whole file arrived, or Probe
	Probe   bool  // the client asked for tsize, and ended the transfer when it had been told: no failure
}

// Limits bound what strangers can make a server do. The zero value of a field
// takes the default that its comment names. A request beyond them is not
// answered: clients ask again, and a storm of boots drains. Of all transfers the
// one that has waited longest for a first answer gives way before that: a client
// that is there has answered within a round trip, one that is made up never will.
type Limits struct {
	Transfers  int // at once: 8192
	PerClient  int // at once to one address: 4096, so that hundreds of devices fit behind one NAT
	Blksize    int // largest block granted, bytes: 65464
	Windowsize int // widest window granted, blocks: 64
}

func (l Limits) withDefaults() Limits {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.Transfers, 8192)
	def(&l.PerClient, 4096)
	def(&l.Blksize, maxBlksize)
	def(&l.Windowsize, 64)
	l.Blksize = max(l.Blksize, minBlksize)
	return l
}

// A Server answers TFTP requests. Its fields are not changed while it serves.
//
// Of an error that Open, Create, a Source or a writer returns the client learns
// no more than a standard code and text: fs.ErrNotExist, fs.ErrPermission,
// fs.ErrExist and ENOSPC have theirs. An *Error goes out as it is.
type Server struct {
	// Open finds the file of a read request. The context ends with the transfer.
	Open func(ctx context.Context, r *Request) (*Source, error)

	// Create takes the file of a write request; nil refuses them all. Close is
	// called once the whole file was written, and the client is told of success
	// only after it returned nil. Of a transfer that failed, CloseWithError is
	// called instead where the writer has it, as an *io.PipeWriter does.
	Create func(ctx context.Context, r *Request) (io.WriteCloser, error)

	// Done is told of every request that was answered, from many goroutines.
	Done func(Result)

	Log        *slog.Logger // nil: silent
	Timing     Timing
	Limits     Limits
	SinglePort bool // answer from the listening port, for firewalls and NAT that know no TFTP
}

// Serve answers requests that come to conn, which it owns, until ctx ends; it
// then tells the clients of transfers under way, and returns nil.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	if err := askLocal(conn); err != nil {
		return fmt.Errorf("ask for packets' local address: %w", err)
	}
	conn.SetReadBuffer(1 << 20) // as much as the system gives: requests come in storms
	e := newEngine(s, conn)
	defer e.transfers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer interrupt(ctx, conn)()

	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve TFTP: %w", err)
		case err != nil:
			e.log.Warn("read TFTP request", "err", err)
			time.Sleep(10 * time.Millisecond) // lest it comes back at once, for ever
			continue
		}
		if at, ok := parseLocal(oob[:oobn]); ok {
			e.handle(ctx, buf[:n], unmap(from), at)
		}
	}
}

// An engine is a Server at work on one socket.
type engine struct {
	*Server
	conn      *net.UDPConn
	port      netip.AddrPort // of conn
	log       *slog.Logger
	timing    Timing
	limits    Limits
	transfers sync.WaitGroup

	mu      sync.Mutex
	active  map[netip.AddrPort]*transfer
	clients map[netip.Addr]int // transfers of each
	unheard *list.List         // of *transfer, whose clients have not answered yet, oldest first
	leaving int                // that gave way, and have not ended yet
	dropped time.Time          // when a request beyond the limits was last logged
}

// A transfer is one request being served.
type transfer struct {
	req    Request
	packet []byte // the request as it came, to know it again
	at     local
	in     chan []byte // with SinglePort
	cancel context.CancelCauseFunc

	// Whether a client that was heard is silent: then a repeated request means
	// that it started afresh, and not that the network doubled a packet.
	stalled atomic.Bool

	// Guarded by the engine's mu.
	elem    *list.Element // in unheard; nil once its client answered
	gaveWay bool
}

// These end a transfer without a word: its client's port has a new one, or
// there may be no client.
var (
	errReplaced = errors.New("the client sent a new request from the same port")
	errGaveWay  = errors.New("no answer yet, and too many transfers")
)

// maxLeaving bounds the transfers that gave way and still hold a file or socket.
const maxLeaving = 64

func newEngine(s *Server, conn *net.UDPConn) *engine {
	e := &engine{
		Server: s, conn: conn, log: s.Log,
		timing: s.Timing.withDefaults(), limits: s.Limits.withDefaults(),
		active: map[netip.AddrPort]*transfer{}, clients: map[netip.Addr]int{}, unheard: list.New(),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		e.port = unmap(a.AddrPort())
	}
	return e
}

// handle takes one packet from the listening port.
func (e *engine) handle(ctx context.Context, p []byte, from netip.AddrPort, at local) {
	if from.Port() == 0 {
		return // nobody can be answered there
	}
	switch op := opcode(p); {
	case op == opRRQ || op == opWRQ:
		e.request(ctx, p, from, at)
	case e.SinglePort && e.deliver(p, from):
	case op == opERROR: // never answered, see turnAway
	case op == opDATA || op == opACK || op == opOACK:
		e.reply(appendError(nil, errUnknownID), from, at)
	default:
		e.reply(appendError(nil, errIllegal), from, at)
	}
}

// deliver hands a packet to the transfer of a shared port that it belongs to.
func (e *engine) deliver(p []byte, from netip.AddrPort) bool {
	e.mu.Lock()
	t := e.active[from]
	e.mu.Unlock()
	if t == nil {
		return false
	}
	select {
	case t.in <- bytes.Clone(p):
	default: // as full as a socket's buffer can be
	}
	return true
}

func (e *engine) request(ctx context.Context, p []byte, from netip.AddrPort, at local) {
	req, err := parseRequest(p)
	if err != nil {
		e.log.Debug("malformed TFTP request", "client", from, "err", err)
		e.reply(appendError(nil, errIllegal), from, at)
		return
	}
	req.Remote, req.Local = from, netip.AddrPortFrom(at.addr, e.port.Port())
	if !at.addr.IsValid() {
		req.Local = e.port
	}
	t := &transfer{req: req, packet: bytes.Clone(p), at: at}
	if e.SinglePort {
		t.in = make(chan []byte, queueLen)
	}
	ctx, t.cancel = context.WithCancelCause(ctx)
	if !e.admit(t) {
		t.cancel(nil)
		return
	}
	e.transfers.Go(func() {
		defer t.cancel(nil)
		defer e.forget(t)
		e.serve(ctx, t)
	})
}

// admit makes t the transfer of its client's port, unless it is the same
// request once more or beyond the limits.
func (e *engine) admit(t *transfer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	from := t.req.Remote
	if old := e.active[from]; old != nil {
		if bytes.Equal(old.packet, t.packet) && !old.stalled.Load() {
			return false
		}
		old.cancel(errReplaced)
		e.remove(old)
	}
	if len(e.active) >= e.limits.Transfers {
		e.giveWay()
	}
	if len(e.active) >= e.limits.Transfers || e.clients[from.Addr()] >= e.limits.PerClient {
		if now := time.Now(); now.Sub(e.dropped) > time.Second {
			e.dropped = now
			e.log.Warn("TFTP request dropped: too many transfers", "client", from,
				"transfers", len(e.active), "of the client", e.clients[from.Addr()])
		}
		return false
	}
	e.active[from] = t
	e.clients[from.Addr()]++
	t.elem = e.unheard.PushBack(t)
	return true
}

// giveWay ends the transfer that has waited longest for its client's first word.
func (e *engine) giveWay() {
	oldest := e.unheard.Front()
	if oldest == nil || e.leaving >= maxLeaving {
		return
	}
	t := oldest.Value.(*transfer)
	t.cancel(errGaveWay)
	e.remove(t)
	t.gaveWay = true
	e.leaving++
}

// answered notes that a transfer's client is there.
func (e *engine) answered(t *transfer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.elem != nil {
		e.unheard.Remove(t.elem)
		t.elem = nil
	}
}

func (e *engine) forget(t *transfer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remove(t)
	if t.gaveWay {
		e.leaving--
	}
}

func (e *engine) remove(t *transfer) {
	if t.elem != nil {
		e.unheard.Remove(t.elem)
		t.elem = nil
	}
	from := t.req.Remote
	if e.active[from] != t {
		return // replaced before
	}
	delete(e.active, from)
	if e.clients[from.Addr()]--; e.clients[from.Addr()] == 0 {
		delete(e.clients, from.Addr())
	}
}

// serve runs a transfer to its end and reports it.
func (e *engine) serve(ctx context.Context, t *transfer) {
	start := time.Now()
	res := Result{Request: t.req}
	var after func()
	switch {
	case t.req.Mode != "octet" && t.req.Mode != "netascii": // and so not "mail", RFC 1350 section 1
		res.Err = e.refuse(t, errMode)
	case t.req.Write:
		after = e.upload(ctx, t, &res)
	default:
		e.download(ctx, t, &res)
	}
	res.Took = time.Since(start)
	if e.Done != nil {
		e.Done(res)
	}
	if after != nil {
		after()
	}
}

// refuse answers a request with an ERROR from the port it came to.
func (e *engine) refuse(t *transfer, err error) error {
	e.reply(appendError(nil, wireError(err)), t.req.Remote, t.at)
	return err
}

// reply sends from the listening port, and from the address that was asked.
func (e *engine) reply(p []byte, to netip.AddrPort, at local) error {
	_, _, err := e.conn.WriteMsgUDPAddrPort(p, at.control(), to)
	return err
}

// dial makes the way on which a transfer goes on.
func (e *engine) dial(ctx context.Context, t *transfer) (peer, error) {
	if e.SinglePort {
		return &shared{ctx, t.in, func(p []byte) error { return e.reply(p, t.req.Remote, t.at) }}, nil
	}
	return newOwned(ctx, t.req.Local.Addr(), t.req.Remote)
}

// grant decides on the options of a request: of blksize and windowsize at most
// what was asked, the rest as asked or not at all.
func (e *engine) grant(t *transfer) Options {
	o := t.req.Options
	if o.Blksize > 0 {
		most := mostBlksize(pathMTU(t.at.addr, t.req.Remote), t.req.Remote.Addr())
		o.Blksize = min(o.Blksize, e.limits.Blksize, most)
	}
	o.Windowsize = min(o.Windowsize, e.limits.Windowsize)
	return o
}

// sendError tells the peer why a transfer ends, unless it was the peer that
// ended it, said nothing for long, or began another.
func sendError(ctx context.Context, p peer, err error) {
	var told peerError
	switch {
	case errors.Is(context.Cause(ctx), errReplaced), errors.Is(context.Cause(ctx), errGaveWay), errors.As(err, &told), errors.Is(err, errSilent):
	case ctx.Err() != nil:
		p.send(appendError(nil, errStopping))
	default:
		p.send(appendError(nil, wireError(err)))
	}
}
