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

	"github.com/bootlace/bootlace/boot/udp"
)

// pattern makes n bytes in which every block differs from the next.
func pattern(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// hangGuard is how long a test with real sockets waits for what must come.
const hangGuard = time.Minute

// A testServer is a server under test and what it reported.
type testServer struct {
	*Server
	net    *udp.Network // nil: the kernel's sockets
	engine *engine      // nil but with serveEngine and serveMemory
	addr   netip.AddrPort
	files  map[string][]byte

	mu      sync.Mutex
	results []Result
	open    int // sources not yet closed
	stop    context.CancelFunc
	stopped chan error
}

// fastTiming ends failures within a second.
var fastTiming = Timing{Initial: 50 * time.Millisecond, Min: 20 * time.Millisecond, Max: 100 * time.Millisecond, Retries: 5, Dally: 200 * time.Millisecond}

// noTimeouts never retransmits within a test.
var noTimeouts = Timing{Initial: time.Hour, Min: time.Hour, Max: time.Hour}

// serve starts a server on a loopback port. change may alter it before.
func serve(t testing.TB, files map[string][]byte, change func(*Server)) *testServer {
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
func serveEngine(t testing.TB, files map[string][]byte, change func(*Server)) *testServer {
	t.Helper()
	conn := listen(t, "127.0.0.1:0")
	b := newTestServer(t, conn, files, change)
	b.startEngine(t, conn)
	return b
}

// The server and its clients in a Network.
var (
	memoryServer = netip.MustParseAddrPort("192.0.2.1:69")
	memoryClient = netip.MustParseAddr("192.0.2.100")
)

// serveMemory is serveEngine in memory, for a test in a bubble.
func serveMemory(t testing.TB, files map[string][]byte, change func(*Server)) *testServer {
	t.Helper()
	return serveNetwork(t, new(udp.Network), files, change)
}

func serveNetwork(t testing.TB, n *udp.Network, files map[string][]byte, change func(*Server)) *testServer {
	t.Helper()
	outlastDally(t)
	conn := n.Listen(memoryServer)
	b := newTestServer(t, conn, files, change)
	b.net = n
	b.startEngine(t, conn)
	return b
}

// outlastDally lets clients end that repeat their last ACK. The time of a bubble
// stands still once the test has returned.
func outlastDally(t testing.TB) { t.Cleanup(func() { time.Sleep(time.Minute) }) }

func (b *testServer) startEngine(t testing.TB, conn udp.PacketConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e, err := newEngine(ctx, b.Server, conn)
	if err != nil {
		t.Fatal(err)
	}
	b.engine, b.stop = e, cancel
	b.start(t, e.run)
}

// locked runs f with the engine locked.
func (b *testServer) locked(f func(e *engine)) {
	b.engine.mu.Lock()
	defer b.engine.mu.Unlock()
	f(b.engine)
}

func serveOn(t testing.TB, conn *net.UDPConn, files map[string][]byte, change func(*Server)) *testServer {
	t.Helper()
	b := newTestServer(t, conn, files, change)
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.start(t, func() error { return b.Serve(ctx, conn) })
	return b
}

func newTestServer(t testing.TB, conn udp.PacketConn, files map[string][]byte, change func(*Server)) *testServer {
	b := &testServer{Server: &Server{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, files: files, stopped: make(chan error, 1)}
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

func (b *testServer) start(t testing.TB, run func() error) {
	go func() { b.stopped <- run() }()
	t.Cleanup(func() {
		b.stop()
		select {
		case err := <-b.stopped:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(hangGuard):
			t.Error("server did not stop")
		}
		if b.count(0) != 0 {
			t.Errorf("%d sources were not closed", b.count(0))
		}
	})
}

// count adds to the number of open sources, and returns it.
func (b *testServer) count(by int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open += by
	return b.open
}

// result waits for the n-th result, from 0.
func (b *testServer) result(t testing.TB, n int) Result {
	t.Helper()
	guard := hangGuard
	if b.net != nil {
		guard *= 10 // in a bubble that is no time
	}
	for range guard / (10 * time.Millisecond) {
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

// client is c on the server's network.
func (b *testServer) client(c Client) *Client { return inMemory(c, b.net) }

// inMemory is c on a network.
func inMemory(c Client, n *udp.Network) *Client {
	c.listenOn = func() udp.PacketConn { return n.Listen(netip.AddrPortFrom(memoryClient, 0)) }
	return &c
}

// A rawPeer is a test's own end of the protocol, packet by packet.
type rawPeer struct {
	t    testing.TB
	conn udp.PacketConn
	peer netip.AddrPort // learnt from what comes
}

// newRawPeer opens one on the loopback.
func newRawPeer(t testing.TB, peer netip.AddrPort) *rawPeer {
	t.Helper()
	host := "127.0.0.1:0"
	if peer.Addr().Is6() {
		host = "[::1]:0"
	}
	return &rawPeer{t, listen(t, host), peer}
}

// newPeer opens one that talks with the server, on its network.
func (b *testServer) newPeer(t testing.TB) *rawPeer {
	t.Helper()
	return b.newPeerOf(t, b.addr)
}

func (b *testServer) newPeerOf(t testing.TB, peer netip.AddrPort) *rawPeer {
	t.Helper()
	if b.net == nil {
		return newRawPeer(t, peer)
	}
	return &rawPeer{t, b.net.Listen(netip.AddrPortFrom(memoryClient, 0)), peer}
}

func (w *rawPeer) addr() netip.AddrPort { return w.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (w *rawPeer) send(p []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteToUDPAddrPort(p, w.peer); err != nil {
		w.t.Fatal(err)
	}
}

// recv returns the next packet, or nil after the time.
func (w *rawPeer) recv(d time.Duration) []byte {
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
func (w *rawPeer) want(p []byte) {
	w.t.Helper()
	if got := w.recv(hangGuard); !bytes.Equal(got, p) {
		w.t.Fatalf("got %s, want %s", short(got), short(p))
	}
}

// until skips packets that were retransmitted, up to p.
func (w *rawPeer) until(p []byte) {
	w.t.Helper()
	for range 20 {
		if bytes.Equal(w.recv(hangGuard), p) {
			return
		}
	}
	w.t.Fatalf("%s does not come", short(p))
}

// silent fails if a packet comes within the time.
func (w *rawPeer) silent(d time.Duration) {
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
