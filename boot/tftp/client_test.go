package tftp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A get is a Client.Get under way, in memory, against a test that plays the
// server.
type get struct {
	*rawPeer // the server's end
	net      *udp.Network
	buf      bytes.Buffer
	done     chan error
	tr       Stats
}

// ask starts c.Get of a file "f".
func ask(t *testing.T, ctx context.Context, c *Client, w io.Writer) *get {
	t.Helper()
	outlastDally(t)
	n := new(udp.Network)
	g := &get{rawPeer: &rawPeer{t: t, conn: n.Listen(memoryServer)}, net: n, done: make(chan error, 1)}
	if w == nil {
		w = &g.buf
	}
	go func() {
		var err error
		g.tr, err = inMemory(*c, n).Get(ctx, g.addr(), "f", w)
		g.done <- err
	}()
	return g
}

const asked = "\x00\x01f\x00octet\x00tsize\x000\x00blksize\x001428\x00windowsize\x0064\x00"

// accept answers the request of a zero Client with these options.
func (g *get) accept(options ...string) {
	g.t.Helper()
	g.want([]byte(asked))
	p := []byte{0, opOACK}
	for _, o := range options {
		p = append(append(p, o...), 0)
	}
	g.send(p)
	g.want(ack(0))
}

func (g *get) end() error {
	g.t.Helper()
	select {
	case err := <-g.done:
		return err
	case <-time.After(hangGuard):
		g.t.Fatal("Get does not return")
		return nil
	}
}

// inBubble runs a subtest whose time is its own, and in memory.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// A server that takes no option is a server all the same.
func TestGetPlainServer(t *testing.T) {
	synctest.Test(t, testGetPlainServer)
}

func testGetPlainServer(t *testing.T) {
	g := ask(t, t.Context(), &Client{}, nil)
	file := pattern(700)
	g.want([]byte(asked))
	g.send(data(1, file[:512]))
	g.want(ack(1))
	g.send(data(2, file[512:]))
	g.want(ack(2))
	if err := g.end(); err != nil || !bytes.Equal(g.buf.Bytes(), file) || g.tr.Size != -1 || g.tr.Blksize != 512 || g.tr.Windowsize != 1 {
		t.Errorf("%+v, %v", g.tr, err)
	}
	// The last ACK was lost, as far as the server can tell.
	time.Sleep(30 * time.Millisecond)
	g.send(data(2, file[512:]))
	g.want(ack(2))
}

// The last ACK is repeated after a long transfer as well, for as long as Dally
// says.
func TestGetDallies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := ask(t, t.Context(), &Client{}, nil)
		g.want([]byte(asked))
		for n := 1; n <= 20; n++ {
			g.send(data(n, pattern(512)))
			g.until(ack(n))
			time.Sleep(time.Second)
		}
		g.send(data(21, nil))
		g.until(ack(21))
		if err := g.end(); err != nil {
			t.Error(err)
		}
		time.Sleep(2900 * time.Millisecond)
		g.send(data(21, nil))
		g.want(ack(21))
		time.Sleep(200 * time.Millisecond)
		g.send(data(21, nil))
		g.silent(time.Minute)
	})
}

// One that refuses the request for its options is asked again without.
func TestGetOptionsRefused(t *testing.T) {
	synctest.Test(t, testGetOptionsRefused)
}

func testGetOptionsRefused(t *testing.T) {
	for _, code := range []uint16{CodeOptions, CodeIllegal} {
		g := ask(t, t.Context(), &Client{}, nil)
		g.want([]byte(asked))
		g.send(errp(&Error{code, "options?"}))
		g.want(rrq("f"))
		g.send(data(1, []byte("x")))
		g.want(ack(1))
		if err := g.end(); err != nil || g.buf.String() != "x" {
			t.Errorf("code %d: %q, %v", code, &g.buf, err)
		}
	}
}

// RFC 7440: an ACK a window, and one a gap, however many blocks follow it.
func TestGetGap(t *testing.T) {
	synctest.Test(t, testGetGap)
}

func testGetGap(t *testing.T) {
	g := ask(t, t.Context(), &Client{Timing: noTimeouts}, nil)
	file := pattern(9 * 8)
	block := func(n int) []byte { return data(n, file[(n-1)*8:min(n*8, len(file))]) }
	sends := func(ns ...int) {
		for _, n := range ns {
			g.send(block(n))
		}
	}
	g.accept("blksize", "8", "windowsize", "4")
	sends(1, 2, 3, 4)
	g.want(ack(4))
	sends(5, 7, 8) // 6 is lost
	g.want(ack(5))
	g.silent(30 * time.Millisecond)
	sends(6, 7, 8)
	g.silent(30 * time.Millisecond)
	sends(8, 7) // duplicates
	g.silent(30 * time.Millisecond)
	sends(9)
	g.want(ack(9))
	sends(9)
	g.silent(30 * time.Millisecond) // too soon for a retransmission
	g.send(data(10, nil))
	g.want(ack(10))
	if err := g.end(); err != nil || !bytes.Equal(g.buf.Bytes(), file) {
		t.Errorf("%+v, %v", g.tr, err)
	}
}

// What is missing at the end of a window is found by time; the ACK then begins
// a window. And a lost ACK of a window is repeated when the window comes again.
func TestGetTail(t *testing.T) {
	synctest.Test(t, testGetTail)
}

func testGetTail(t *testing.T) {
	g := ask(t, t.Context(), &Client{Timing: fastTiming}, nil)
	g.accept("blksize", "8", "windowsize", "3")
	block := pattern(8)
	g.send(data(1, block))
	g.until(ack(1))
	g.want(ack(1)) // and again: 1 may have been lost as well
	for n := 2; n <= 4; n++ {
		g.send(data(n, block))
	}
	g.until(ack(4))
	time.Sleep(15 * time.Millisecond)
	g.send(data(4, block))
	g.want(ack(4))
	g.send(data(5, nil))
	g.until(ack(5))
	if err := g.end(); err != nil || g.tr.Bytes != 32 {
		t.Errorf("%+v, %v", g.tr, err)
	}
}

func TestGetStranger(t *testing.T) {
	synctest.Test(t, testGetStranger)
}

func testGetStranger(t *testing.T) {
	g := ask(t, t.Context(), &Client{Timing: noTimeouts}, nil)
	g.accept("blksize", "8")
	stranger := &rawPeer{t, g.net.Listen(netip.AddrPortFrom(memoryServer.Addr(), 0)), g.peer}
	stranger.send(data(1, []byte("evil")))
	stranger.want(errp(errUnknownID))
	stranger.send(errp(&Error{CodeNotFound, "evil"}))
	stranger.silent(30 * time.Millisecond)
	g.send(data(1, []byte("good")))
	g.want(ack(1))
	if err := g.end(); err != nil || g.buf.String() != "good" {
		t.Errorf("%q, %v", &g.buf, err)
	}
}

func TestGetNotFound(t *testing.T) {
	b := serve(t, nil, nil)
	tr, err := (&Client{}).Get(t.Context(), b.addr, "dir/none", io.Discard)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "dir/none") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%+v, %v", tr, err)
	}
}

func TestGetNobody(t *testing.T) {
	synctest.Test(t, testGetNobody)
}

func testGetNobody(t *testing.T) {
	start := time.Now()
	g := ask(t, t.Context(), &Client{}, nil)
	for _, want := range []time.Duration{0, 1, 3, 7} {
		g.want([]byte(asked))
		if got := time.Since(start); got != want*time.Second {
			t.Errorf("a request after %v, want %d s", got, want)
		}
	}
	if err := g.end(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 15*time.Second || g.tr.Resent != 3 {
		t.Errorf("after %v: %+v, %v", time.Since(start), g.tr, err)
	}
	g.silent(time.Minute)
	// A closed port is known at once.
	at := g.addr()
	start = time.Now()
	g.conn.Close()
	_, err := inMemory(Client{}, g.net).Get(t.Context(), at, "f", io.Discard)
	if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) != 0 {
		t.Errorf("closed port, after %v: %v", time.Since(start), err)
	}
}

// The kernel as well tells of a closed port.
func TestGetPortClosed(t *testing.T) {
	conn := listen(t, "127.0.0.1:0")
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	if _, err := (&Client{Timing: noTimeouts}).Get(t.Context(), at, "f", io.Discard); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v", err)
	}
}

// The server vanishes in the middle. The client gives up after the 44.75 s that
// Timing has.
func TestGetSilence(t *testing.T) {
	synctest.Test(t, testGetSilence)
}

func testGetSilence(t *testing.T) {
	g := ask(t, t.Context(), &Client{}, nil)
	g.accept("blksize", "8")
	g.send(data(1, pattern(8)))
	start := time.Now()
	n := 0
	for p := g.recv(time.Minute); p != nil; p = g.recv(time.Minute) {
		n++
	}
	def := Timing{}.WithDefaults()
	if err := g.end(); !errors.Is(err, os.ErrDeadlineExceeded) || g.tr.Bytes != 8 || n != 1+def.Retries+1 {
		t.Errorf("%d packets, %+v, %v", n, g.tr, err)
	}
	// Reads wait up to a quarter longer, see udp.Conn.SetTimeout.
	if took := time.Since(start) - time.Minute; took < 44750*time.Millisecond || took > 44750*time.Millisecond*5/4 {
		t.Errorf("given up after %v", took)
	}
}

func TestGetCancel(t *testing.T) {
	synctest.Test(t, testGetCancel)
}

func testGetCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := ask(t, ctx, &Client{Timing: noTimeouts}, nil)
	g.accept("blksize", "8")
	g.send(data(1, pattern(8)))
	g.want(ack(1))
	start := time.Now()
	cancel()
	if err := g.end(); !errors.Is(err, context.Canceled) || time.Since(start) != 0 || g.tr.Bytes != 8 {
		t.Errorf("after %v: %+v, %v", time.Since(start), g.tr, err)
	}
	g.want(errp(errCancelled))
}

func TestGetArguments(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:69")
	for _, tt := range []struct {
		c      Client
		server netip.AddrPort
		name   string
		want   string
	}{
		{Client{}, netip.AddrPort{}, "f", "no address"},
		{Client{}, netip.AddrPortFrom(at.Addr(), 0), "f", "no address"},
		{Client{}, at, "", "name is empty"},
		{Client{}, at, "a\x00b", "NUL"},
		{Client{}, at, strings.Repeat("x", 500), "too long"},
		{Client{Blksize: 7}, at, "f", "out of range"},
		{Client{Blksize: 65465}, at, "f", "out of range"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if _, err := tt.c.Get(t.Context(), tt.server, tt.name, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Over IPv6, to a socket for both families, and by IPv4 to the same.
func TestGetFamilies(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		file := pattern(5000)
		b := serveOn(t, listen(t, "[::]:0"), map[string][]byte{"f": file}, change)
		for _, host := range []string{"127.0.0.1", "::1", "127.0.0.2", "::ffff:127.0.0.1"} {
			var got bytes.Buffer
			at := netip.AddrPortFrom(netip.MustParseAddr(host), b.addr.Port())
			if _, err := new(Client).Get(t.Context(), at, "f", &got); err != nil || !bytes.Equal(got.Bytes(), file) {
				t.Errorf("%s: %v", host, err)
			}
		}
	})
}
