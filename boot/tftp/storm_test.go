package tftp

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// All at once: lockstep and windows, downloads and uploads, lost packets,
// clients that give up, requests in the name of others. The cache is too small,
// and the server stops in the middle. What a client took for whole is whole, and
// nothing is left behind.
func TestMixedStorm(t *testing.T) {
	const clients = 300
	files, drop := stormFiles(), &drop{}
	b := serveStorm(t, files, drop)
	lossy := newLossyProxy(t, b.addr, .01, .01, .01)
	var whole, taken, ended atomic.Int64
	var all sync.WaitGroup
	clientsEnd, endClients := context.WithCancel(t.Context())
	defer endClients()
	r := rand.New(rand.NewPCG(9, 10))
	for i := range clients {
		at, window := b.addr, []int{1, 2, 16, 64}[r.IntN(4)]
		if i%4 == 0 {
			at = lossy.addr
		}
		name := []string{"0", "500", "1428", "30000", "100000", "500000", "none"}[r.IntN(7)]
		start := time.Duration(r.IntN(1500)) * time.Millisecond
		patience := time.Minute
		if i%10 == 3 {
			patience = time.Duration(r.IntN(20)) * time.Millisecond
		}
		all.Go(func() {
			time.Sleep(start)
			ctx, cancel := context.WithTimeout(clientsEnd, patience)
			defer cancel()
			c := &Client{Windowsize: window, Timing: Timing{Dally: 50 * time.Millisecond}}
			if i%10 == 7 {
				name, file := fmt.Sprint("up", i), pattern(20_000+i)
				if put(ctx, listen(t, "127.0.0.1:0"), at, name, file) == nil {
					if got, closed := drop.get(name); !closed || !bytes.Equal(got, file) {
						t.Errorf("%s: the server has %d of %d bytes, closed %v", name, len(got), len(file), closed)
					}
					taken.Add(1)
				}
				return
			}
			var got bytes.Buffer
			switch _, err := c.Get(ctx, at, name, &got); {
			case err == nil && (files[name] == nil || !bytes.Equal(got.Bytes(), files[name].data)):
				t.Errorf("%s: %d bytes are taken for whole", name, got.Len())
			case err == nil:
				whole.Add(1)
			default:
				ended.Add(1)
			}
		})
	}
	for range 20 {
		flood(t, b.engine, 50, func(i int) []byte { return rrq("500000", "windowsize", "64") }, func() {})
		time.Sleep(60 * time.Millisecond)
	}
	everyone := make(chan struct{})
	go func() { all.Wait(); close(everyone) }()
	awaitStorm(t, everyone, &whole, &taken, &ended, clients)
	b.stop()
	if err := <-b.stopped; err != nil {
		t.Error(err)
	}
	b.stopped <- nil
	noneOpen(t, files)
	b.idle(t)
	endClients() // those that wait for an answer
	<-everyone
	t.Logf("%d files and %d uploads whole, %d ended otherwise, %d gave way", whole.Load(), taken.Load(), ended.Load(), b.Counters.GaveWay.Load())
	if whole.Load() < clients/10 || taken.Load() < 3 || b.Counters.GaveWay.Load() == 0 {
		t.Errorf("of %d clients %d got a file, %d left one, and %d gave way", clients, whole.Load(), taken.Load(), b.Counters.GaveWay.Load())
	}
}

// awaitStorm returns in the midst of the transfers, but not before each kind had
// its way. Otherwise the server would end before what the test is about.
func awaitStorm(t *testing.T, everyone <-chan struct{}, whole, taken, ended *atomic.Int64, clients int64) {
	t.Helper()
	for whole.Load() < clients/10 || taken.Load() < 3 || whole.Load() < clients/3 && ended.Load() < clients/2 {
		select {
		case <-everyone:
			t.Fatalf("all clients ended: %d files and %d uploads are whole", whole.Load(), taken.Load())
		case <-time.After(time.Millisecond):
		}
	}
}

func noneOpen(t *testing.T, files map[string]*disk) {
	t.Helper()
	for name, f := range files {
		if n := f.open.Load(); n != 0 {
			t.Errorf("%s: %d sources are not closed", name, n)
		}
	}
}

// stormFiles are of sizes about the edges of blocks and chunks.
func stormFiles() map[string]*disk {
	files := map[string]*disk{}
	for _, n := range []int{0, 500, 1428, 30_000, 100_000, 500_000} {
		files[fmt.Sprint(n)] = &disk{data: pattern(n)}
	}
	return files
}

// serveStorm serves the files from a cache that is too small. Half of them are
// in part at hand.
func serveStorm(t *testing.T, files map[string]*disk, drop *drop) *testServer {
	return serveEngine(t, nil, func(s *Server) {
		s.Log = nil
		s.Limits.Cache, s.Limits.HalfOpen = 1<<20, 40
		s.Timing.Dally = 50 * time.Millisecond
		s.Uploads = storeUploads(drop.create)
		opens(func(r *Request) (*Source, error) {
			f := files[r.Name]
			if f == nil {
				return nil, fs.ErrNotExist
			}
			if len(r.Name)%2 == 0 {
				return f.source(f), nil
			}
			src := f.source(nil)
			src.ReaderAt = &nowDisk{disk: f, hit: func(off int64) bool { return off/chunkSize%2 == 0 }}
			return src, nil
		})(s)
	})
}

// A lossyProxy is a link between one server and its clients, of real sockets.
// It drops, doubles and reorders packets. To a client it is a server that
// answers from one port.
type lossyProxy struct {
	addr             netip.AddrPort
	drop, dup, delay float64 // shares of the packets, each way

	conn   *net.UDPConn
	server netip.AddrPort

	mu      sync.Mutex
	rand    *rand.Rand
	clients map[netip.AddrPort]*proxyPath
	packets int // to clients
}

// A proxyPath is one client's way to the server, and the end it talks to there.
type proxyPath struct {
	conn *net.UDPConn
	tid  netip.AddrPort
}

func newLossyProxy(t testing.TB, server netip.AddrPort, drop, dup, delay float64) *lossyProxy {
	t.Helper()
	l := &lossyProxy{drop: drop, dup: dup, delay: delay, conn: listen(t, "127.0.0.1:0"), server: server,
		rand: rand.New(rand.NewPCG(1, 2)), clients: map[netip.AddrPort]*proxyPath{}}
	l.addr = l.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := l.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c := l.proxyPath(t, from)
			to := c.tid
			if op := opcode(buf[:n]); op == opRRQ || op == opWRQ || !to.IsValid() {
				to = l.server
			}
			l.carry(c.conn, bytes.Clone(buf[:n]), to)
		}
	}()
	return l
}

func (l *lossyProxy) proxyPath(t testing.TB, from netip.AddrPort) *proxyPath {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[from]; c != nil {
		return &proxyPath{c.conn, c.tid}
	}
	c := &proxyPath{conn: listen(t, "127.0.0.1:0")}
	l.clients[from] = c
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, tid, err := c.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			l.mu.Lock()
			c.tid = tid
			l.packets++
			l.mu.Unlock()
			l.carry(l.conn, bytes.Clone(buf[:n]), from)
		}
	}()
	return &proxyPath{conn: c.conn}
}

func (l *lossyProxy) carry(conn *net.UDPConn, p []byte, to netip.AddrPort) {
	l.mu.Lock()
	copies, late := 1, l.rand.Float64() < l.delay
	if l.rand.Float64() < l.dup {
		copies++
	}
	if l.rand.Float64() < l.drop {
		copies = 0
	}
	l.mu.Unlock()
	for range copies {
		if late {
			time.AfterFunc(3*time.Millisecond, func() { conn.WriteToUDPAddrPort(p, to) })
			continue
		}
		conn.WriteToUDPAddrPort(p, to)
	}
}
