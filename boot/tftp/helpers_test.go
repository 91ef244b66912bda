package tftp

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// pattern makes n bytes in which every block differs from the next.
func pattern(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// A bench is a server under test and what it reported.
type bench struct {
	*Server
	engine *engine // nil but with serveEngine
	addr   netip.AddrPort
	files  map[string][]byte

	mu      sync.Mutex
	results []Result
	open    int // sources not yet closed
	stop    context.CancelFunc
	stopped chan error
}

// quick is a Timing with which failures end within a second.
var quick = Timing{Initial: 50 * time.Millisecond, Min: 20 * time.Millisecond, Max: 100 * time.Millisecond, Retries: 5, Dally: 200 * time.Millisecond}

// patient never resends within a test.
var patient = Timing{Initial: time.Minute, Min: time.Minute, Max: time.Minute}

// serve starts a server on a loopback port. change may alter it before.
func serve(t testing.TB, files map[string][]byte, change func(*Server)) *bench {
	t.Helper()
	return serveOn(t, listen(t, "127.0.0.1:0"), files, change)
}

func listen(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// serveEngine is serve for a test that looks inside.
func serveEngine(t testing.TB, files map[string][]byte, change func(*Server)) *bench {
	t.Helper()
	conn := listen(t, "127.0.0.1:0")
	b := newBench(t, conn, files, change)
	if err := askLocal(conn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e, err := newEngine(ctx, b.Server, conn)
	if err != nil {
		t.Fatal(err)
	}
	b.engine, b.stop = e, cancel
	b.start(t, e.run)
	return b
}

// look runs f with the engine locked.
func (b *bench) look(f func(e *engine)) {
	b.engine.mu.Lock()
	defer b.engine.mu.Unlock()
	f(b.engine)
}

func serveOn(t testing.TB, conn *net.UDPConn, files map[string][]byte, change func(*Server)) *bench {
	t.Helper()
	b := newBench(t, conn, files, change)
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.start(t, func() error { return b.Serve(ctx, conn) })
	return b
}

func newBench(t testing.TB, conn *net.UDPConn, files map[string][]byte, change func(*Server)) *bench {
	b := &bench{Server: &Server{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, files: files, stopped: make(chan error, 1)}
	b.addr = unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	b.Open = func(_ context.Context, r *Request) (*Source, error) {
		data, ok := b.files[r.Name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: "/srv/secret/" + r.Name, Err: fs.ErrNotExist}
		}
		b.count(1)
		return &Source{ReaderAt: bytes.NewReader(data), Size: int64(len(data)), Close: func() error { b.count(-1); return nil }}, nil
	}
	b.Done = func(r Result) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.results = append(b.results, r)
	}
	if change != nil {
		change(b.Server)
	}
	return b
}

func (b *bench) start(t testing.TB, run func() error) {
	go func() { b.stopped <- run() }()
	t.Cleanup(func() {
		b.stop()
		select {
		case err := <-b.stopped:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("server did not stop")
		}
		if b.count(0) != 0 {
			t.Errorf("%d sources were not closed", b.count(0))
		}
	})
}

func (b *bench) count(by int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open += by
	return b.open
}

// result waits for the n-th result, from 0.
func (b *bench) result(t testing.TB, n int) Result {
	t.Helper()
	for range 1500 {
		b.mu.Lock()
		if len(b.results) > n {
			defer b.mu.Unlock()
			return b.results[n]
		}
		b.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no result %d", n)
	return Result{}
}

// A wire is a test's own end of the protocol, packet by packet.
type wire struct {
	t    testing.TB
	conn *net.UDPConn
	peer netip.AddrPort // learnt from what comes
}

func newWire(t testing.TB, peer netip.AddrPort) *wire {
	t.Helper()
	host := "127.0.0.1:0"
	if peer.Addr().Is6() {
		host = "[::1]:0"
	}
	return &wire{t, listen(t, host), peer}
}

func (w *wire) addr() netip.AddrPort { return w.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (w *wire) send(p []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteToUDPAddrPort(p, w.peer); err != nil {
		w.t.Fatal(err)
	}
}

// recv returns the next packet, or nil after the time.
func (w *wire) recv(d time.Duration) []byte {
	w.t.Helper()
	buf := make([]byte, 1<<16)
	w.conn.SetReadDeadline(time.Now().Add(d))
	n, from, err := w.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil
	}
	w.peer = from
	return buf[:n]
}

// want fails unless the next packet is p.
func (w *wire) want(p []byte) {
	w.t.Helper()
	if got := w.recv(2 * time.Second); !bytes.Equal(got, p) {
		w.t.Fatalf("got %s, want %s", short(got), short(p))
	}
}

// until skips packets that were sent again by time, up to p.
func (w *wire) until(p []byte) {
	w.t.Helper()
	for range 20 {
		if bytes.Equal(w.recv(2*time.Second), p) {
			return
		}
	}
	w.t.Fatalf("%s does not come", short(p))
}

// silent fails if a packet comes within the time.
func (w *wire) silent(d time.Duration) {
	w.t.Helper()
	if got := w.recv(d); got != nil {
		w.t.Fatalf("got %s, want silence", short(got))
	}
}

func short(p []byte) string {
	if p == nil {
		return "nothing"
	}
	if len(p) > 60 {
		return fmt.Sprintf("%q… (%d bytes)", p[:60], len(p))
	}
	return fmt.Sprintf("%q", p)
}

func rrq(name string, options ...string) []byte { return request(opRRQ, name, "octet", options...) }

func request(op byte, name, mode string, options ...string) []byte {
	p := append([]byte{0, op}, name...)
	p = append(append(append(p, 0), mode...), 0)
	for _, o := range options {
		p = append(append(p, o...), 0)
	}
	return p
}

func data(n int, p []byte) []byte { return append(appendHeader(nil, opDATA, uint16(n)), p...) }
func ack(n int) []byte            { return appendACK(nil, uint16(n)) }
func errp(e *Error) []byte        { return appendError(nil, e) }
