package limit

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestConns(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conns := &Conns{Bounds: Bounds{Total: 3, PerHost: 2}}
	accepted := make(chan net.Conn, 10)
	go func() {
		ll := conns.Listen(l, func(c net.Conn) { io.WriteString(c, "full") })
		for {
			c, err := ll.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "welcome")
			accepted <- c
		}
	}()
	dial := func(from, want string) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetReadDeadline(time.Now().Add(2 * time.Minute)) // a hang guard
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("from %s: %q, %v, want %q", from, got, err, want)
		}
	}
	dial("127.0.0.1", "welcome")
	dial("127.0.0.1", "welcome")
	dial("127.0.0.1", "full")
	dial("127.0.0.2", "welcome")
	dial("127.0.0.3", "full")
	first := <-accepted
	first.Close()
	first.Close() // a second Close does not count
	dial("127.0.0.3", "welcome")
	dial("127.0.0.3", "full")
	for range 3 {
		(<-accepted).Close()
	}
	if conns.n != 0 || len(conns.hosts) != 0 {
		t.Errorf("%d connections of %v are still counted", conns.n, conns.hosts)
	}
}

// Two addresses with 512 connections each cannot take all 1024. Others get some
// after them.
func TestTheLastAreForThoseWhoHaveFew(t *testing.T) {
	c := Conns{Bounds: Bounds{Total: 1024, PerHost: 512}}
	host := netip.MustParseAddr("10.0.0.0")
	for _, want := range []int{512, 256, 128, 64, 32} {
		host = host.Next()
		t.Run(host.String(), func(t *testing.T) {
			n := 0
			for c.Take(host) {
				n++
			}
			if n != want {
				t.Errorf("got %d, want %d", n, want)
			}
		})
	}
	if !c.Take(host.Next()) {
		t.Error("one who has none got none")
	}
}

func TestHost(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("::ffff:10.0.0.1"), Port: 1}, "10.0.0.1"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::1%eth0"},
		{&net.UnixAddr{Name: "@", Net: "unix"}, "invalid IP"},
		{nil, "invalid IP"},
	} {
		t.Run(fmt.Sprint(tt.addr), func(t *testing.T) {
			if got := Host(tt.addr).String(); got != tt.want {
				t.Errorf("Host(%v) = %s, want %s", tt.addr, got, tt.want)
			}
		})
	}
}

// Whatever hosts come and go, no bound is passed, and in the end nothing counts.
func TestTakeAndRelease(t *testing.T) {
	for _, b := range []Bounds{{1, 1}, {5, 2}, {100, 100}, {64, 16}, {0, 10}, {10, 0}} {
		t.Run(fmt.Sprintf("%d, %d a host", b.Total, b.PerHost), func(t *testing.T) {
			c := Conns{Bounds: b}
			rng := rand.New(rand.NewPCG(1, uint64(b.Total)))
			held, all := map[netip.Addr]int{}, 0
			for range 5000 {
				host := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(8))})
				if rng.IntN(3) == 0 && held[host] > 0 {
					c.Release(host)
					held[host]--
					all--
					continue
				}
				fits := held[host] < min(b.PerHost, b.Total-all)
				if got := c.Take(host); got != fits {
					t.Fatalf("%s has %d of %d and got one: %v", host, held[host], all, got)
				}
				if fits {
					held[host]++
					all++
				}
			}
			for host, n := range held {
				for range n {
					c.Release(host)
				}
			}
			if c.n != 0 || len(c.hosts) != 0 {
				t.Errorf("%d connections of %v are still counted", c.n, c.hosts)
			}
		})
	}
}

// Many goroutines at once do not pass a bound either.
func TestTakeAtOnce(t *testing.T) {
	c := Conns{Bounds: Bounds{Total: 50, PerHost: 10}}
	var wg sync.WaitGroup
	var taken atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			host := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for range 1000 {
				if !c.Take(host) {
					continue
				}
				if n := taken.Add(1); n > 50 {
					t.Errorf("%d are taken", n)
				}
				taken.Add(-1)
				c.Release(host)
			}
		})
	}
	wg.Wait()
	if c.n != 0 || len(c.hosts) != 0 {
		t.Errorf("%d connections of %v are still counted", c.n, c.hosts)
	}
}

func TestOr(t *testing.T) {
	other := Bounds{Total: 7, PerHost: 3}
	for _, tt := range []struct {
		name    string
		b, want Bounds
	}{
		{"zero", Bounds{}, other},
		{"set", Bounds{Total: 1, PerHost: 1}, Bounds{Total: 1, PerHost: 1}},
		{"set in part", Bounds{Total: 1}, Bounds{Total: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.b.Or(other); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// A connection that cannot be counted, as it is no TCP, is refused and closed;
// an error of the listener passes.
func TestListenRefuses(t *testing.T) {
	ours, theirs := net.Pipe()
	l := &once{conn: ours}
	refused := 0
	_, err := (&Conns{Bounds: Bounds{10, 10}}).Listen(l, func(net.Conn) { refused++ }).Accept()
	if !errors.Is(err, net.ErrClosed) || refused != 1 {
		t.Errorf("%v, %d refused", err, refused)
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection: %v, want its end", err)
	}
}

// once is a listener to which one client comes.
type once struct{ conn net.Conn }

func (l *once) Accept() (net.Conn, error) {
	c := l.conn
	l.conn = nil
	if c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *once) Close() error   { return nil }
func (l *once) Addr() net.Addr { return nil }
