package tftp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// An engine is a Server at work. All transfers are states of its own: packets,
// time and files that were read each move some of them on, under one lock, and
// what they have to say leaves together at its end. Nothing under the lock waits
// for anything but the link.
type engine struct {
	*Server
	log    *slog.Logger
	timing Timing
	limits Limits
	ctx    context.Context
	stop   context.CancelFunc

	ask   *line // where requests come in
	data  *line // where transfers go on; ask with SinglePort
	lines []*line
	jobs  sync.WaitGroup

	mu          sync.Mutex
	now         time.Time // when what is being handled came
	reader      *transfer // came to another piece of its file
	active      map[netip.AddrPort]*transfer
	clients     map[netip.Addr]int // transfers of each that has answered
	established int                // all of them
	uploads     int                // at work, although they may have ended
	halfOpen    ring               // downloads whose clients have not answered yet, oldest first
	asking      ring               // uploads, likewise
	clock       clock
	cache       cache
	crew        crew
	whole       map[int]bool // links, by index, that do not cut datagrams up
	warned      time.Time    // when a limit was last logged
	sought      time.Time    // when reclaim last looked
	found       bool         // and found something
}

// A line is a socket of the server's.
type line struct {
	*socket
	in  *reader
	out *writer
}

// newEngine takes conn over.
func newEngine(ctx context.Context, s *Server, conn *net.UDPConn) (*engine, error) {
	e := &engine{
		Server: s, log: s.Log, timing: s.Timing.withDefaults(), limits: s.Limits.withDefaults(),
		active: map[netip.AddrPort]*transfer{}, clients: map[netip.Addr]int{}, whole: map[int]bool{},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.cache.init(e)
	e.clock.init()
	at := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	var err error
	if e.ask, err = e.line(conn); err != nil {
		return nil, err
	}
	e.data = e.ask
	if !s.SinglePort {
		family := "udp4"
		if e.ask.v6 {
			family = "udp" // for IPv4 too
		}
		if conn, err = net.ListenUDP(family, udpAddr(netip.AddrPortFrom(at.Addr(), 0))); err == nil {
			e.data, err = e.line(conn)
		}
		if err != nil {
			e.close()
			return nil, err
		}
	}
	e.ctx, e.stop = context.WithCancel(ctx)
	return e, nil
}

// line makes a line of conn.
func (e *engine) line(conn *net.UDPConn) (*line, error) {
	askRefused(conn)
	s, err := newSocket(conn)
	if err != nil {
		return nil, err
	}
	s.roomy(rxQueue)
	s.fragments(false)
	l := &line{s, newReader(s, batch, rxLen), newWriter(s, e.noSegments)}
	e.lines = append(e.lines, l)
	return l, nil
}

func (e *engine) close() {
	for _, l := range e.lines {
		l.close()
	}
}

// run serves until the context ends.
func (e *engine) run() error {
	defer e.close()
	var readers sync.WaitGroup
	errs := make([]error, len(e.lines))
	for i, l := range e.lines {
		readers.Go(func() {
			errs[i] = e.listen(l)
			e.stop()
		})
	}
	readers.Go(e.watch)
	<-e.ctx.Done()
	e.shut()
	for _, l := range e.lines {
		l.wake()
	}
	readers.Wait()
	e.jobs.Wait()
	return errors.Join(errs...)
}

// shut ends all transfers.
func (e *engine) shut() {
	e.mu.Lock()
	defer e.unlock()
	for _, t := range e.active {
		t.end(context.Cause(e.ctx))
	}
}

// listen handles what comes to a line.
func (e *engine) listen(l *line) error {
	yielded := time.Now()
	for failed := 0; ; {
		n, err := l.in.read(0)
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
			// where the socket's queue is full: to sleep then would leave it full.
			if failed++; !e.refused(l) && failed > batch {
				e.warn("read TFTP packets", "err", err)
				n = -1
			}
			e.unlock()
			if n < 0 {
				time.Sleep(10 * time.Millisecond) // a lack that may pass
			}
			continue
		}
		failed = 0
		for i := range n {
			if p := l.in.datagram(i); p != nil {
				e.handle(l, p, l.in.from(i), l.in.control(i))
			}
		}
		e.unlock()
	}
}

// lastWords is how long what a client said before it closed its port may wait to
// be read: the kernel tells of the port first.
const lastWords = 20 * time.Millisecond

// refused ends the transfers of clients whose ports turn out to be closed: they
// have gone, or were never there and somebody else asked in their name.
func (e *engine) refused(l *line) bool {
	return l.refusals(func(client netip.AddrPort) {
		t := e.active[client]
		switch {
		case t == nil || t.line != l:
		case t.in != nil:
			t.end(errGone)
		default:
			t.gone = true
			if soon := e.now.Add(lastWords); t.due.IsZero() || soon.Before(t.due) {
				e.clock.set(t, soon)
			}
		}
	})
}

// unlock sends what there is to say, and lets others go on.
func (e *engine) unlock() {
	e.flush()
	for _, l := range e.lines {
		if l.out.met {
			l.out.met = false
			e.refused(l)
		}
	}
	if t := e.reader; t != nil {
		t.readAhead()
		e.reader = nil
	}
	e.mu.Unlock()
}

func (e *engine) flush() {
	for _, l := range e.lines {
		l.out.flush()
	}
}

// handle takes one packet. oob says which address of ours it was sent to.
func (e *engine) handle(l *line, p []byte, from netip.AddrPort, oob []byte) {
	op := opcode(p)
	request := l == e.ask && (op == opRRQ || op == opWRQ)
	if t := e.active[from]; t != nil && t.line == l && !request {
		t.packet(op, p)
		return
	}
	if from.Port() == 0 {
		return // nobody can be answered there
	}
	at, ok := parseLocal(oob)
	if !ok {
		return
	}
	if request {
		if e.ctx.Err() == nil {
			e.request(p, from, at)
		}
		return
	}
	e.Counters.Strays.Add(1)
	switch op {
	case opERROR: // never answered, so that no two ends can keep each other busy
	case opDATA, opACK, opOACK:
		e.reply(l, from, at, errUnknownID)
	default:
		e.reply(l, from, at, errIllegal)
	}
}

// reply answers a packet of no transfer with an ERROR, RFC 1350 section 4.
func (e *engine) reply(l *line, to netip.AddrPort, at local, err error) {
	r := l.routeTo(to, at)
	l.out.packet(&r, appendError(nil, wireError(err)))
}

// noSegments notes that the link of a route does not cut datagrams up.
func (e *engine) noSegments(r *route) { e.whole[r.ifindex] = true }

// watch moves transfers on by time.
func (e *engine) watch() {
	for e.clock.wait(e.ctx) {
		e.mu.Lock()
		e.now = time.Now()
		for t := e.clock.next(e.now); t != nil; t = e.clock.next(e.now) {
			t.timeout()
		}
		e.unlock()
	}
}

// A crew runs what may take long, a file that is opened or an end that is
// reported, a bounded number at a time. Where files take long to open there are
// more requests than it can take: those that others took the place of are
// dropped now and then.
type crew struct {
	queue   []job
	most    int // jobs in the queue before it is looked through
	working int
}

// A job is run without the lock.
type job struct {
	run   func()
	opens *transfer // nil: another job
}

const crewSize = 64

// do is called with the engine locked.
func (c *crew) do(e *engine, j job) {
	if c.working == crewSize {
		c.most = max(c.most, 2*e.limits.HalfOpen)
		if c.queue = append(c.queue, j); len(c.queue) > c.most {
			c.queue = slices.DeleteFunc(c.queue, func(j job) bool { return j.opens != nil && j.opens.over })
			c.most = 2 * len(c.queue)
		}
		return
	}
	c.working++
	e.jobs.Go(func() {
		for j.run != nil {
			j.run()
			e.mu.Lock()
			if j = (job{}); len(c.queue) > 0 {
				j, c.queue = c.queue[0], c.queue[1:]
			} else {
				c.working--
				c.most = 0
			}
			e.mu.Unlock()
		}
	})
}
