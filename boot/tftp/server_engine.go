package tftp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

const (
	maxDatagram = 9216    // bytes of a datagram that a server takes: a jumbo frame's DATA
	socketQueue = 4 << 20 // bytes that the kernel may keep for us: requests and ACKs come in storms

	// readPause is how long a socket rests that cannot be read. What it lacks
	// may be there again.
	readPause = 10 * time.Millisecond

	// yieldEvery is how often a loop that reads a socket goes through Go's
	// scheduler. A goroutine that was not scheduled for 10 ms loses its
	// processor in its next system call, each time that sysmon looks. Then
	// sysmon looks every 20 µs. With Go 1.26 that took a quarter of the speed of
	// lockstep.
	yieldEvery = 2 * time.Millisecond
)

// An engine is a running Server: a state machine under one lock. A packet, a
// timer or a finished disk read takes the lock, advances the transfers it
// concerns and queues datagrams. unlock sends them in one batch. Nothing blocks
// under the lock except a full socket buffer. All that admits, ends and times
// transfers needs the lock, so it is the engine's, in this file and in
// server_admit.go.
type engine struct {
	*Server
	log    *slog.Logger
	timing Timing
	limits Limits
	ctx    context.Context
	stop   context.CancelFunc

	requests  *endpoint // the well-known port, where requests come in
	transfers *endpoint // where transfers go on; requests with SinglePort
	endpoints []*endpoint
	running   sync.WaitGroup // goroutines of jobs, reads and uploads

	mu            sync.Mutex
	now           time.Time // when what is being handled came
	nextChunk     *transfer // came to another chunk of its file
	active        map[netip.AddrPort]*transfer
	clients       map[netip.Addr]int // established transfers of each
	established   int                // all of them
	uploads       int                // at work, although they may have ended
	halfOpen      queue              // downloads whose clients have not answered yet, oldest first
	halfOpenPuts  queue              // uploads, likewise
	timers        timers
	cache         cache
	workers       workers
	unsegmentable map[int]bool // links, by index, that do not cut datagrams up
	warned        time.Time    // when a limit was last logged
	reclaimed     time.Time    // when reclaim last looked
	reclaimable   bool         // and found a transfer
}

// An endpoint is a socket of the server's.
type endpoint struct {
	*udp.Socket
	in  *udp.Reader
	out *udp.Writer
}

// newEngine takes conn over. It is a socket of the kernel's, or one of a
// udp.Network, whose time may be a test's.
func newEngine(ctx context.Context, s *Server, conn udp.PacketConn) (*engine, error) {
	e := &engine{
		Server: s, log: s.Log, timing: s.Timing.WithDefaults(), limits: s.Limits.withDefaults(),
		active: map[netip.AddrPort]*transfer{}, clients: map[netip.Addr]int{}, unsegmentable: map[int]bool{},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.cache.init(e)
	e.timers.init(time.Sleep)
	if _, ok := conn.(*net.UDPConn); ok {
		e.timers.init(sleepExactly)
	}
	socket, err := udp.NewSocket(conn)
	if err != nil {
		return nil, err
	}
	e.requests = e.open(socket)
	e.transfers = e.requests
	err = socket.ReportLocal()
	if err == nil && !s.SinglePort {
		if socket, err = socket.Beside(); err == nil {
			e.transfers = e.open(socket)
		}
	}
	if err != nil {
		e.close()
		return nil, err
	}
	e.ctx, e.stop = context.WithCancel(ctx)
	return e, nil
}

// open makes an endpoint of a socket.
func (e *engine) open(s *udp.Socket) *endpoint {
	s.ReportRefused()
	s.SetBuffers(socketQueue)
	s.SetSendTimeout(e.timing.SendWait)
	s.SetFragments(false)
	p := &endpoint{s, udp.NewReader(s, udp.Batch, maxDatagram), udp.NewWriter(s)}
	p.out.Unsegmentable = func(r *udp.Route) { e.unsegmentable[r.Ifindex()] = true }
	e.endpoints = append(e.endpoints, p)
	return p
}

func (e *engine) close() {
	for _, p := range e.endpoints {
		p.Close()
	}
}

// run serves until the context ends.
func (e *engine) run() error {
	defer e.close()
	var loops sync.WaitGroup
	errs := make([]error, len(e.endpoints))
	for i, p := range e.endpoints {
		loops.Go(func() {
			errs[i] = e.listen(p)
			e.stop()
		})
	}
	loops.Go(e.runTimers)
	<-e.ctx.Done()
	e.endAll()
	for _, p := range e.endpoints {
		p.Interrupt()
	}
	loops.Wait()
	e.running.Wait()
	return errors.Join(errs...)
}

// endAll ends all transfers.
func (e *engine) endAll() {
	e.mu.Lock()
	defer e.unlock()
	for _, t := range e.active {
		t.end(context.Cause(e.ctx))
	}
}

// listen handles what comes to an endpoint.
func (e *engine) listen(p *endpoint) error {
	yielded := time.Now()
	for failed := 0; ; {
		n, err := p.in.Read()
		if e.ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		if now.Sub(yielded) >= yieldEvery {
			runtime.Gosched()
			yielded = now
		}
		e.mu.Lock()
		e.now = now
		if err != nil {
			// An ICMP message may come without an entry in the error queue, as
			// where the socket's queue is full. A pause would leave it full.
			pause := false
			if failed++; !e.handleRefused(p) && failed > udp.Batch {
				e.warn("read TFTP packets", "err", err)
				pause = true
			}
			e.unlock()
			if pause {
				time.Sleep(readPause)
			}
			continue
		}
		failed = 0
		for i := range n {
			if d := p.in.Datagram(i); d != nil {
				e.handle(p, d, p.in.From(i), func() (udp.Local, bool) { return p.in.Local(i) })
			}
		}
		e.unlock()
	}
}

// handleRefused ends the transfers of clients whose ports turn out to be
// closed. They have gone, or somebody else asked in their name. It returns
// whether there was anything to handle.
func (e *engine) handleRefused(p *endpoint) bool {
	return p.Refused(func(client netip.AddrPort) {
		t := e.active[client]
		switch {
		case t == nil || t.endpoint != p:
		case t.packets != nil:
			t.end(errGone)
		default:
			// The kernel tells of the closed port before what the client said
			// last, which may still be read.
			t.life.unreachable = true
			if last := e.now.Add(e.timing.LastWords); t.timer.due.IsZero() || last.Before(t.timer.due) {
				e.timers.set(t, last)
			}
		}
	})
}

// unlock sends what was queued, and lets others go on.
func (e *engine) unlock() {
	e.flush()
	for _, p := range e.endpoints {
		if p.out.PendingError() {
			e.handleRefused(p)
		}
	}
	if t := e.nextChunk; t != nil {
		t.readAhead()
		e.nextChunk = nil
	}
	e.mu.Unlock()
}

func (e *engine) flush() {
	for _, p := range e.endpoints {
		p.out.Flush()
	}
}

// handle takes one packet. local says which address of ours it was sent to,
// and is only called for a packet that begins something.
func (e *engine) handle(p *endpoint, packet []byte, from netip.AddrPort, local func() (udp.Local, bool)) {
	op := opcode(packet)
	request := p == e.requests && (op == opRRQ || op == opWRQ)
	if t := e.active[from]; t != nil && t.endpoint == p && !request {
		t.handle(op, packet)
		return
	}
	if from.Port() == 0 {
		return // nobody can be answered there
	}
	at, ok := local()
	if !ok {
		return
	}
	if request {
		if e.ctx.Err() == nil {
			e.handleRequest(packet, from, at)
		}
		return
	}
	e.Counters.Strays.Add(1)
	switch op {
	case opERROR: // never answered, so that no two ends keep each other busy
	case opDATA, opACK, opOACK:
		e.reply(p, from, at, errUnknownID)
	default:
		e.reply(p, from, at, errIllegal)
	}
}

// reply answers a packet of no transfer with an ERROR, RFC 1350 section 4.
func (e *engine) reply(p *endpoint, to netip.AddrPort, from udp.Local, err error) {
	r := p.RouteTo(to, from)
	p.out.Packet(&r, appendError(nil, wireError(err)))
}

// runTimers calls the transfers whose timers fire.
func (e *engine) runTimers() {
	for e.timers.wait(e.ctx) {
		e.mu.Lock()
		e.now = time.Now()
		for t := e.timers.next(e.now); t != nil; t = e.timers.next(e.now) {
			t.timeout()
		}
		e.unlock()
	}
}
