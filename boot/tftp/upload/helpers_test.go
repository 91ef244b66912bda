package upload

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp"
)

// hangGuard is how long a test waits for what must come.
const hangGuard = time.Minute

func pattern(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// both runs a test with a port a transfer, and with one port for all.
func both(t *testing.T, f func(t *testing.T, single bool)) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single=%v", single), func(t *testing.T) {
			t.Parallel()
			f(t, single)
		})
	}
}

// A testServer takes uploads on the loopback, and keeps what it reported.
type testServer struct {
	addr netip.AddrPort

	mu      sync.Mutex
	results []tftp.Result
}

type creator func(context.Context, *tftp.Request) (io.WriteCloser, error)

// serve starts a server. Without a creator it takes no uploads.
func serve(t *testing.T, single bool, create creator) *testServer {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", single, create)
}

func serveAt(t *testing.T, at string, single bool, create creator) *testServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	b := &testServer{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s := &tftp.Server{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Config: tftp.Config{SinglePort: single},
		// Nothing is lost on the loopback, so nothing is retransmitted.
		Timing: tftp.Timing{Initial: hangGuard, Min: hangGuard, Max: hangGuard, Dally: 200 * time.Millisecond},
		Done: func(r tftp.Result) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.results = append(b.results, r)
		},
	}
	if create != nil {
		s.Uploads = &Receiver{Create: create}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

// result waits for the n-th result, from 0.
func (b *testServer) result(t *testing.T, n int) tftp.Result {
	t.Helper()
	for range hangGuard / (10 * time.Millisecond) {
		b.mu.Lock()
		if len(b.results) > n {
			defer b.mu.Unlock()
			return b.results[n]
		}
		b.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no result %d", n)
	return tftp.Result{}
}

// A rawPeer is a test's own end of the protocol, packet by packet.
type rawPeer struct {
	t    *testing.T
	conn *net.UDPConn
	peer netip.AddrPort // learnt from what comes
}

func newPeer(t *testing.T, peer netip.AddrPort) *rawPeer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawPeer{t, conn, peer}
}

func (w *rawPeer) send(p []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteToUDPAddrPort(p, w.peer); err != nil {
		w.t.Fatal(err)
	}
}

// want fails unless the next packet is p.
func (w *rawPeer) want(p []byte) {
	w.t.Helper()
	buf := make([]byte, 1<<16)
	w.conn.SetReadDeadline(time.Now().Add(hangGuard))
	n, from, err := w.conn.ReadFromUDPAddrPort(buf)
	if err != nil || !bytes.Equal(buf[:n], p) {
		w.t.Fatalf("got %q, %v, want %q", buf[:n], err, p)
	}
	w.peer = from
}

func request(name, mode string, options ...string) []byte {
	p := append([]byte{0, opWRQ}, name+"\x00"+mode+"\x00"...)
	for _, o := range options {
		p = append(append(p, o...), 0)
	}
	return p
}

func data(n int, p []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opDATA}, uint16(n)), p...)
}

func ack(n int) []byte { return binary.BigEndian.AppendUint16([]byte{0, opACK}, uint16(n)) }

func errp(code uint16, text string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opERROR}, code), text+"\x00"...)
}
