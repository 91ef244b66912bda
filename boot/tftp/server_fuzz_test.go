package tftp

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A fuzzEngine is an engine that runs by hand, and clients that play with it.
type fuzzEngine struct {
	t       *testing.T
	e       *engine
	files   [][]byte // as they come, in octet and netascii
	clients [2]*fuzzClient
	skew    time.Duration // of the engine's clock
	uploads int
	held    atomic.Int64  // reads that wait at the gate
	gate    chan struct{} // lets one on
}

// A fuzzClient is a client, as far as what it was sent goes.
type fuzzClient struct {
	in       *udp.Reader
	addr     netip.AddrPort
	block    uint16 // the last it was sent, or the last of its own that was acknowledged
	got      int    // packets
	answered bool   // it has acknowledged something, or sent a block
}

// play is a script: how to go on is a byte for what, and bytes for the details.
type play []byte

func (p *play) byte() int {
	if len(*p) == 0 {
		return 0
	}
	b := (*p)[0]
	*p = (*p)[1:]
	return int(b)
}

func (p *play) bytes(n int) []byte {
	n = min(n, len(*p))
	b := (*p)[:n]
	*p = (*p)[n:]
	return b
}

// Moves of a script; more than moves stands for a second client's.
const (
	moveAsk   = iota // a length, and a packet to the port for requests
	moveData         // and to that of transfers
	moveRRQ          // a name, a mode and options
	moveWRQ          //
	moveACK          // how far from the last block
	moveBlock        // how far from the last ACK, and a size
	moveError        // a code
	moveTime         // milliseconds that pass
	moveRead         // the slow disk reads on
	moves
)

func newFuzzEngine(f *testing.F) *fuzzEngine {
	text := []byte(strings.Repeat("a line\r\nand\ranother\n", 3500))
	file := pattern(110_000)
	g := &fuzzEngine{gate: make(chan struct{}), files: [][]byte{file, text, []byte(netasciiOf(text)), []byte(netasciiOf(file))}}
	s := &Server{
		Timing: Timing{Initial: 10 * time.Millisecond, Min: 10 * time.Millisecond, Max: 80 * time.Millisecond, Retries: 3, Dally: time.Hour},
		Config: Config{Limits: Limits{Transfers: 3, PerClient: 2, HalfOpen: 2, Files: 3}},
		Open: func(_ context.Context, r *Request) (*Source, error) {
			src := func(data []byte, key any) *Source {
				return &Source{ReaderAt: bytes.NewReader(data), Size: int64(len(data)), Key: key}
			}
			switch r.Name[0] % 7 {
			case 0:
				return src(file, "file"), nil
			case 1:
				s := src(file, "half")
				slow := &disk{data: file, fault: func(int64) error {
					g.held.Add(1)
					<-g.gate
					return nil
				}}
				s.ReaderAt = &nowDisk{disk: slow, hit: func(off int64) bool { return off == 0 }}
				return s, nil
			case 2:
				return src(text, nil), nil
			case 3:
				return src(nil, nil), nil
			case 4:
				s := src(file, "cut")
				s.ReaderAt = cut{bytes.NewReader(file), 67_000, nil}
				return s, nil
			case 5:
				s := src(file[:512*7], "narrow")
				s.Windowsize = 3
				return s, nil
			}
			return nil, fs.ErrNotExist
		},
		Uploads: storeUploads(func(_ context.Context, r *Request) (io.WriteCloser, error) {
			if r.Name[0]%4 == 0 {
				return nil, fs.ErrExist
			}
			return closeFunc(func() {}), nil
		}),
	}
	var err error
	if g.e, err = newEngine(context.Background(), s, listen(f, "127.0.0.1:0")); err != nil {
		f.Fatal(err)
	}
	g.e.limits.Cache = 2 * chunkSize
	for i := range g.clients {
		s, err := udp.NewSocket(listen(f, "127.0.0.1:0"))
		if err != nil {
			f.Fatal(err)
		}
		s.SetBuffers(4 << 20)
		g.clients[i] = &fuzzClient{in: udp.NewReader(s, 16, 1<<16), addr: s.LocalAddr()}
	}
	return g
}

// begin forgets what was played before.
func (g *fuzzEngine) begin(t *testing.T) {
	g.t, g.skew, g.uploads = t, 0, 0
	for _, c := range g.clients {
		c.block, c.got, c.answered = 0, 0, false
	}
}

// handle has the engine take a packet of a client's.
func (g *fuzzEngine) handle(l *endpoint, c *fuzzClient, p []byte) {
	switch opcode(p) {
	case opACK, opDATA:
		c.answered = true
	}
	g.e.mu.Lock()
	g.e.now = time.Now().Add(g.skew)
	g.e.handle(l, p, c.addr, loopbackLocal)
	g.e.unlock()
}

// pass lets time pass.
func (g *fuzzEngine) pass(d time.Duration) {
	g.skew += d
	g.e.mu.Lock()
	g.e.now = time.Now().Add(g.skew)
	for t := g.e.timers.next(g.e.now); t != nil; t = g.e.timers.next(g.e.now) {
		t.timeout()
	}
	g.e.unlock()
}

// read lets the slow disk's reads on that wait.
func (g *fuzzEngine) read() {
	for ; g.held.Load() > 0; g.held.Add(-1) {
		g.gate <- struct{}{}
	}
}

// settle waits for what goroutines do, and has the clients take what came.
func (g *fuzzEngine) settle() {
	for busy := true; busy; {
		runtime.Gosched()
		g.e.mu.Lock()
		busy = g.e.workers.running > 0 || g.e.cache.reading > 0 && g.held.Load() == 0
		for _, t := range g.e.active {
			busy = busy || len(t.packets) > 0
		}
		g.e.mu.Unlock()
	}
	for _, c := range g.clients {
		for {
			n, err := c.in.ReadNow()
			if err != nil {
				break
			}
			for i := range n {
				g.took(c, c.in.Datagram(i))
			}
		}
	}
}

// took checks what the server says: it is well formed, and blocks are pieces of
// files.
func (g *fuzzEngine) took(c *fuzzClient, p []byte) {
	c.got++
	block, data, ok := parseBlock(p)
	switch {
	case opcode(p) == opOACK:
		if _, err := parseOACK(p); err != nil {
			g.t.Errorf("%s: %v", short(p), err)
		}
		c.block = 0
	case !ok:
		g.t.Errorf("got %s", short(p))
	case opcode(p) == opDATA:
		for _, file := range g.files {
			if bytes.Contains(file, data) {
				c.block = block
				return
			}
		}
		g.t.Errorf("got %s, of no file", short(p))
	case opcode(p) == opACK:
		c.block = block
	case opcode(p) != opERROR || block > CodeOptions || p[len(p)-1] != 0:
		g.t.Errorf("got %s", short(p))
	}
}

// move plays the next move of a script.
func (g *fuzzEngine) move(p *play) {
	what := p.byte()
	c := g.clients[what/moves%2]
	switch what % moves {
	case moveAsk:
		g.handle(g.e.requests, c, p.bytes(p.byte()))
	case moveData:
		g.handle(g.e.transfers, c, p.bytes(p.byte()))
	case moveRRQ, moveWRQ:
		r := Request{Write: what%moves == moveWRQ && g.uploads < 3, Name: string([]byte{byte('a' + p.byte()%7)}), Mode: []string{"octet", "netascii", "mail", "OCTET"}[p.byte()%4]}
		if r.Write {
			g.uploads++ // the end of each takes a millisecond
		}
		has := p.byte()
		if has&1 != 0 {
			r.Options.Blksize = []int{8, 9, 511, 512, 513, 1000, 1428, 4000, 65464}[p.byte()%9]
		}
		if has&2 != 0 {
			r.Options.Windowsize = p.byte() + 1
		}
		if has&4 != 0 {
			r.Options.TSize, r.Options.Size = true, int64(p.byte())
		}
		if has&8 != 0 {
			r.Options.Timeout = time.Duration(p.byte()%3+1) * time.Second
		}
		g.handle(g.e.requests, c, appendRequest(nil, &r))
	case moveACK:
		g.handle(g.e.transfers, c, appendACK(nil, c.block+uint16(int8(p.byte()))))
	case moveBlock:
		n := uint16(int8(p.byte()))
		g.handle(g.e.transfers, c, append(appendHeader(nil, opDATA, c.block+n+1), make([]byte, p.byte()*4)...))
	case moveError:
		g.handle(g.e.transfers, c, appendError(nil, &Error{uint16(p.byte()), "enough"}))
	case moveRead:
		g.read()
	case moveTime:
		g.pass(time.Duration(p.byte()) * time.Millisecond)
	}
	g.settle()
}

// end ends all transfers, and fails unless nothing is left of them.
func (g *fuzzEngine) end() {
	e := g.e
	for busy := true; busy; runtime.Gosched() {
		e.mu.Lock()
		for _, t := range e.active {
			t.end(errReplaced)
		}
		busy = e.workers.running > 0 || e.cache.reading > 0 || e.uploads > 0
		e.unlock()
		g.read()
	}
	g.settle()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.active)+len(e.clients)+e.established+e.halfOpen.n+e.halfOpenPuts.n+len(e.timers.heap)+len(e.workers.queue)+len(e.cache.queue)+e.cache.open != 0 {
		g.t.Errorf("%d transfers, %d clients, %d established, %d half-open, %d due, %d and %d wait, %d files open are left",
			len(e.active), len(e.clients), e.established, e.halfOpen.n+e.halfOpenPuts.n, len(e.timers.heap), len(e.workers.queue), len(e.cache.queue), e.cache.open)
	}
	sum := 0
	for _, k := range e.cache.chunks {
		if sum += cap(k.data) + chunkCost; !k.ready || len(k.waiting) != 0 {
			g.t.Errorf("chunk %d is waited for", k.index)
		}
	}
	if sum != e.cache.bytes || sum > e.limits.Cache+(maxReads+2)*(chunkSize+chunkCost) {
		g.t.Errorf("%d bytes in the cache, %d were counted", sum, e.cache.bytes)
	}
	for key, f := range e.cache.files {
		if f.refs != 0 || f.queued != 0 || f.chunks == 0 {
			g.t.Errorf("file %v: %+v", key, f)
		}
	}
}

// FuzzServer plays scripts to the server's packet handler: packets of two
// clients to both ports, in any order, with any options, and time that passes.
// Whatever they are, the server says nothing that is wrong, sends next to
// nothing to a client that never answered, and keeps nothing.
func FuzzServer(f *testing.F) {
	rrq := func(name, mode byte, options ...byte) []byte { return append([]byte{moveRRQ, name, mode}, options...) }
	for _, moves := range [][][]byte{
		{rrq(0, 0, 0), {moveACK, 0}, {moveACK, 0}, {moveACK, 0}, {moveTime, 11}, {moveTime, 30}, {moveACK, 0}},
		{rrq(1, 0, 3, 6, 63), {moveACK, 0}, {moveACK, 0}, {moveACK, 0xf0}, {moveTime, 15}, {moveACK, 0}, {moveACK, 0}},
		{rrq(1, 0, 3, 6, 63), {moveACK, 0}, {moveTime, 30}, {moveRead}, {moveACK, 0}, {moveError, 0}},
		{rrq(1, 0, 3, 6, 63), {moveACK, 0}, {moveError, 0}, {moveRead}},
		{rrq(2, 1, 3, 5, 15), {moveACK, 0}, {moveACK, 0}, {moveACK, 0}, {moveACK, 0}, {moveACK, 0}},
		{rrq(3, 0, 0), {moveACK, 0}},
		{rrq(4, 0, 3, 8, 7), {moveACK, 0}, {moveACK, 0}},
		{rrq(5, 0, 2, 63), {moveACK, 0}, {moveACK, 0}, {moveACK, 0}, {moveACK, 0}},
		{rrq(0, 0, 4, 0), {moveError, 8}, rrq(0, 0, 15, 0, 1, 0, 1), {moveACK, 0}, {moveTime, 255}, {moveTime, 255}},
		{rrq(0, 0, 0), {moves + moveRRQ, 0, 0, 0}, rrq(1, 0, 0), {moves + moveRRQ, 1, 0, 0}, {moves + moveACK, 1}, {moves + moveACK, 0}},
		{{moveWRQ, 1, 0, 4, 9}, {moveBlock, 0, 128}, {moveBlock, 0, 128}, {moveBlock, 0xff, 128}, {moveBlock, 0, 3}},
		{{moveWRQ, 2, 1, 1, 6}, {moveTime, 12}, {moveBlock, 0, 200}, {moveError, 0}},
		{{moveWRQ, 3, 0, 0}, {moveWRQ, 5, 0, 0}, {moveWRQ, 4, 0, 0}, rrq(6, 0, 0), rrq(0, 2, 0)},
		{{moveAsk, 5, 0, 9, 0, 0, 0}, {moveAsk, 0}, {moveData, 4, 0, 4, 0, 1}, {moveData, 4, 0, 3, 0, 1}, {moves + moveData, 1, 0}},
	} {
		f.Add(bytes.Join(moves, nil))
	}
	g := newFuzzEngine(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		g.begin(t)
		n := 0
		for p := play(script); len(p) > 0 && n < 64; n++ {
			g.move(&p)
		}
		g.end()
		for _, c := range g.clients {
			// An OACK or a block, thrice more, and an ERROR.
			if !c.answered && c.got > 5*n {
				t.Errorf("%d packets for %d moves to a client that never answered", c.got, n)
			}
		}
	})
}
