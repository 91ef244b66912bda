package limit

import (
	"io"
	"net"
	"net/netip"
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
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
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
	first.Close() // counts once
	dial("127.0.0.3", "welcome")
	dial("127.0.0.3", "full")
	for range 3 {
		(<-accepted).Close()
	}
	if conns.n != 0 || len(conns.hosts) != 0 {
		t.Errorf("%d connections of %v are still counted", conns.n, conns.hosts)
	}
}

// Two addresses of 512 cannot take all 1024: others come in after them.
func TestTheLastAreForThoseWhoHaveFew(t *testing.T) {
	c := Conns{Bounds: Bounds{Total: 1024, PerHost: 512}}
	host := netip.MustParseAddr("10.0.0.0")
	for _, want := range []int{512, 256, 128, 64, 32} {
		host = host.Next()
		n := 0
		for c.Take(host) {
			n++
		}
		if n != want {
			t.Errorf("%s got %d, want %d", host, n, want)
		}
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
		if got := Host(tt.addr).String(); got != tt.want {
			t.Errorf("Host(%v) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}
