package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// idle fails unless nothing is left of any transfer.
func (b *testServer) idle(t testing.TB) {
	t.Helper()
	eventually(t, "nothing is left", func() (idle bool) {
		b.locked(func(e *engine) {
			idle = len(e.active) == 0 && len(e.clients) == 0 && e.established == 0 && e.halfOpen.n+e.halfOpenPuts.n == 0 &&
				e.halfOpen.head == nil && e.halfOpenPuts.head == nil && len(e.timers.heap) == 0 && len(e.workers.queue) == 0 && e.uploads == 0
			for _, f := range e.cache.files {
				idle = idle && f.refs == 0 && f.src == nil
			}
			for _, k := range e.cache.chunks {
				idle = idle && k.ready
			}
		})
		return idle
	})
}

// A client that gives up is heard, whatever is going on. Nothing more goes to
// it, and nothing is left of the transfer.
func TestClientGivesUp(t *testing.T) {
	oack := func(w *rawPeer, want string) { w.want(append([]byte{0, 6}, want...)) }
	file := pattern(300_000)
	for _, tt := range []struct {
		state string
		probe bool
		begin func(b *testServer, w *rawPeer)
	}{
		{"options offered", false, func(_ *testServer, w *rawPeer) {
			w.send(rrq("f", "blksize", "1000"))
			oack(w, "blksize\x001000\x00")
		}},
		{"size told", true, func(_ *testServer, w *rawPeer) {
			w.send(rrq("f", "tsize", "0"))
			oack(w, "tsize\x00300000\x00")
		}},
		{"first block", false, func(_ *testServer, w *rawPeer) {
			w.send(rrq("f"))
			w.want(data(1, file[:512]))
		}},
		{"lockstep", false, func(_ *testServer, w *rawPeer) {
			w.send(rrq("f"))
			w.want(data(1, file[:512]))
			w.send(ack(1))
			w.want(data(2, file[512:1024]))
		}},
		{"a window", false, func(_ *testServer, w *rawPeer) {
			w.send(rrq("f", "windowsize", "64"))
			oack(w, "windowsize\x0064\x00")
			w.send(ack(0))
			for n := range 64 {
				w.want(data(n+1, file[n*512:][:512]))
			}
		}},
		{"a read, half-open", false, func(b *testServer, w *rawPeer) {
			w.send(rrq("slow"))
			synctest.Wait()
			b.locked(func(e *engine) { w.peer = e.transfers.LocalAddr() })
		}},
		{"a read, established", false, func(_ *testServer, w *rawPeer) {
			w.send(rrq("slow", "blksize", "1000"))
			oack(w, "blksize\x001000\x00")
			w.send(ack(0))
			synctest.Wait()
		}},
		{"an upload, no block yet", false, func(_ *testServer, w *rawPeer) {
			w.send(request(opWRQ, "a", "octet"))
			w.want(ack(0))
		}},
		{"an upload", false, func(_ *testServer, w *rawPeer) {
			w.send(request(opWRQ, "b", "octet"))
			w.want(ack(0))
			w.send(data(1, file[:512]))
			w.want(ack(1))
		}},
	} {
		t.Run(tt.state, func(t *testing.T) {
			bothInBubble(t, func(t *testing.T, change func(*Server)) { clientGivesUp(t, change, file, tt.probe, tt.begin) })
		})
	}
}

func clientGivesUp(t *testing.T, change func(*Server), data []byte, probe bool, begin func(*testServer, *rawPeer)) {
	release := make(chan struct{})
	file := &disk{data: data}
	slow := &disk{data: data, fault: func(int64) error { <-release; return nil }}
	b := serveMemory(t, nil, func(s *Server) {
		change(s)
		s.Limits.Cache = 2 * chunkSize
		s.Timing = Timing{Initial: 200 * time.Millisecond, Min: 200 * time.Millisecond, Dally: time.Millisecond}
		s.Uploads = storeUploads((&drop{}).create)
		opens(func(r *Request) (*Source, error) {
			if r.Name == "slow" {
				return slow.source(nil), nil
			}
			return file.source("f"), nil
		})(s)
	})
	w := b.newPeer(t)
	begin(b, w)
	giveUp := &Error{CodeUndefined, "gave up"}
	w.send(errp(giveUp))
	r := b.result(t, 0)
	var told *Error
	if probe && (!r.Probe || r.Err != nil) || !probe && (!errors.As(r.Err, &told) || *told != *giveUp) {
		t.Errorf("result %+v", r)
	}
	close(release)                        // what it waited for comes after all
	for w.recv(time.Millisecond) != nil { // what was on its way
	}
	w.silent(time.Minute)
	b.idle(t)
	if file.open.Load() != 0 || slow.open.Load() != 0 {
		t.Error("sources are still open")
	}
}

// flood has an engine handle requests that come from nowhere, each from another
// address of the loopback, and calls each after each. What is said to them nobody
// reads.
func flood(t testing.TB, e *engine, n int, request func(i int) []byte, each func()) {
	sink := listen(t, "0.0.0.0:0").LocalAddr().(*net.UDPAddr).AddrPort().Port()
	for i := range n {
		ip := binary.BigEndian.AppendUint32(nil, 127<<24|1<<20+uint32(i))
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip)), sink)
		e.mu.Lock()
		e.now = time.Now()
		e.handle(e.requests, request(i), from, loopbackLocal)
		each()
		e.unlock()
	}
}

// loopbackLocal is that of a packet to the loopback.
func loopbackLocal() (udp.Local, bool) {
	return udp.Local{Addr: netip.MustParseAddr("127.0.0.1"), Ifindex: 1}, true
}

// Requests in the name of others cost no more than the half-open transfers that
// are allowed. Files may open at once, or take long to open or to read. Uploads
// are bounded as well.
func TestFlood(t *testing.T) {
	const requests, limit = 8000, 400
	for _, tt := range []struct {
		name string
		op   byte
		hang string // what does not return: open, read or create
	}{
		{"files", opRRQ, ""},
		{"opening hangs", opRRQ, "open"},
		{"reading hangs", opRRQ, "read"},
		{"uploads", opWRQ, ""},
		{"creating hangs", opWRQ, "create"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := pattern(5000)
			release := make(chan struct{})
			hangs := func(where string) {
				if tt.hang == where {
					<-release
				}
			}
			var open, most atomic.Int64
			b := serveFlood(t, limit, file, hangs, &open, &most)
			before := inUse()
			var halfOpen, queue, waiting, uploads int
			flood(t, b.engine, requests, func(i int) []byte { return request(tt.op, fmt.Sprint(i), "octet") }, func() {
				e := b.engine
				halfOpen, queue = max(halfOpen, e.halfOpen.n+e.halfOpenPuts.n), max(queue, len(e.workers.queue))
				waiting, uploads = max(waiting, len(e.cache.queue)), max(uploads, e.uploads)
			})
			grown := inUse() - before
			t.Logf("%d half-open, %d jobs and %d reads wait, %d uploads, %d files open, %d KiB", halfOpen, queue, waiting, uploads, most.Load(), grown>>10)
			want := limit
			if tt.op == opWRQ {
				want = maxHalfOpenPuts
			}
			if halfOpen != want {
				t.Errorf("%d half-open, the limit is %d", halfOpen, want)
			}
			if queue > 5*limit || waiting > limit || uploads > 2*limit {
				t.Errorf("%d jobs, %d reads, %d uploads wait", queue, waiting, uploads)
			}
			if most.Load() > limit+2*maxWorkers+maxReads {
				t.Errorf("%d files were open at once", most.Load())
			}
			if grown > 29<<20 { // 16 of them are the cache
				t.Errorf("%d MiB for %d half-open transfers", grown>>20, limit)
			}
			if tt.hang == "" || tt.hang == "create" {
				// Amid all that a client is served.
				fetch(t, b, &Client{}, "f", file)
			}
			close(release)
			fetch(t, b, &Client{}, "f", file)
			b.stop()
			if err := <-b.stopped; err != nil {
				t.Error(err)
			}
			b.stopped <- nil
			if n := open.Load(); n != 0 {
				t.Errorf("%d files are still open", n)
			}
		})
	}
}

// serveFlood serves one file and takes uploads. It counts the files that are
// open, and at most were.
func serveFlood(t *testing.T, limit int, file []byte, hangs func(where string), open, most *atomic.Int64) *testServer {
	return serveEngine(t, nil, func(s *Server) {
		s.Limits.HalfOpen, s.Limits.Transfers = limit, limit
		s.Timing.Dally = time.Millisecond
		s.Done = nil
		s.Open = func(_ context.Context, r *Request) (*Source, error) {
			hangs("open")
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			d := &disk{data: file, fault: func(int64) error { hangs("read"); return nil }}
			src := d.source(nil)
			src.Close = func() error { open.Add(-1); return nil }
			return src, nil
		}
		s.Uploads = storeUploads(func(context.Context, *Request) (io.WriteCloser, error) {
			hangs("create")
			open.Add(1)
			return closeFunc(func() { open.Add(-1) }), nil
		})
	})
}

type closeFunc func()

func (f closeFunc) Write(p []byte) (int, error) { return len(p), nil }
func (f closeFunc) Close() error                { f(); return nil }

// inUse is what is in use of the heap and of stacks.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A client that asks for one file after the other from one port, while nothing
// opens, is one transfer and leaves no more behind.
func TestReplacedBeforeOpen(t *testing.T) {
	release := make(chan struct{})
	var opened atomic.Int64
	b := serveEngine(t, map[string][]byte{"last": pattern(100)}, func(s *Server) {
		open := s.Open
		s.Limits.HalfOpen = 10
		s.Open = func(ctx context.Context, r *Request) (*Source, error) {
			<-release
			opened.Add(1)
			return open(ctx, r)
		}
	})
	w := b.newPeer(t)
	from := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), w.addr().Port())
	most := 0
	for i := range 5000 {
		name := fmt.Sprint(i)
		if i == 4999 {
			name = "last"
		}
		b.locked(func(e *engine) {
			e.now = time.Now()
			e.handle(e.requests, rrq(name), from, loopbackLocal)
			most = max(most, len(e.workers.queue))
		})
	}
	if most > 3*10 {
		t.Errorf("%d jobs were waiting", most)
	}
	close(release)
	w.want(data(1, pattern(100)))
	w.send(ack(1))
	if r := b.result(t, 0); r.Err != nil || r.Name != "last" {
		t.Errorf("result %+v", r)
	}
	if n := opened.Load(); n > maxWorkers+1 {
		t.Errorf("%d files were opened for one client", n)
	}
	b.idle(t)
}
