//go:build linux

package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// head begins the i-th datagram.
func head(i int) (h [HeadLen]byte) {
	binary.BigEndian.PutUint32(h[:], uint32(i))
	return h
}

func quote(p []byte) string {
	if len(p) > 60 {
		return fmt.Sprintf("%q… (%d bytes)", p[:60], len(p))
	}
	return fmt.Sprintf("%q", p)
}

// A composer is a writer and the blocks that it was given.
type composer struct {
	t       *testing.T
	w       *Writer
	route   Route
	conn    *net.UDPConn // where it leads
	want    [][]byte
	refused int
}

// newComposer's route cuts datagrams of size bytes off.
func newComposer(t *testing.T, w *Writer, size int) *composer {
	c := &composer{t: t, w: w, conn: listen(t)}
	c.conn.SetReadBuffer(4 << 20)
	if w == nil {
		s, err := NewSocket(listen(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		s.SetBuffers(4 << 20)
		c.w = NewWriter(s)
		c.w.Unsegmentable = func(*Route) { c.refused++ }
	}
	c.route = c.w.sock.RouteTo(c.conn.LocalAddr().(*net.UDPAddr).AddrPort(), Local{netip.MustParseAddr("127.0.0.1"), 1})
	c.route.Segment(size)
	return c
}

// blocks adds n blocks whose datagrams have size bytes, in one piece or two.
func (c *composer) blocks(n, size int) {
	for range n {
		i := len(c.want)
		payload := bytes.Repeat([]byte{byte(i)}, size-HeadLen)
		h := head(i)
		cut := len(payload) * (i % 3) / 2
		c.w.Block(&c.route, h, payload[:cut], payload[cut:])
		c.want = append(c.want, append(append([]byte(nil), h[:]...), payload...))
	}
}

func (c *composer) packet(p []byte) {
	c.w.Packet(&c.route, p)
	c.want = append(c.want, p)
}

// messages tells how many datagrams are in each message that waits.
func (c *composer) messages() (n []int) {
	for i := range c.w.n {
		m, sum := &c.w.msgs[i], 0
		for _, v := range unsafe.Slice(m.Iov, m.Iovlen) {
			sum += int(v.Len)
		}
		seg := sum
		if int(m.Controllen) > c.w.routes[i].local {
			seg = c.w.routes[i].segment
		}
		n = append(n, (sum+seg-1)/seg)
	}
	return n
}

// arrive flushes, and fails unless what was given came, in order.
func (c *composer) arrive() {
	c.t.Helper()
	c.w.Flush()
	buf := make([]byte, 1<<16)
	for i, want := range c.want {
		c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := c.conn.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			c.t.Fatalf("datagram %d: got %s, %v, want %s", i, quote(buf[:n]), err, quote(want))
		}
	}
	c.want = nil
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := c.conn.Read(buf); err == nil {
		c.t.Errorf("and then %s", quote(buf[:n]))
	}
}

// Which blocks share a message.
func TestMessages(t *testing.T) {
	const full = 1000
	for _, tt := range []struct {
		name string
		add  func(c *composer)
		want []int
	}{
		{"one", func(c *composer) { c.blocks(1, full) }, []int{1}},
		{"a window", func(c *composer) { c.blocks(16, full) }, []int{16}},
		{"its end is short", func(c *composer) { c.blocks(3, full); c.blocks(1, 100) }, []int{4}},
		{"its end is empty", func(c *composer) { c.blocks(3, full); c.blocks(1, HeadLen) }, []int{4}},
		{"two windows, short between", func(c *composer) {
			c.blocks(3, full)
			c.blocks(1, 100)
			c.blocks(2, full)
			c.blocks(1, 100)
		}, []int{4, 3}},
		{"short and again", func(c *composer) { c.blocks(1, 100); c.blocks(1, 100); c.blocks(1, 50) }, []int{1, 1, 1}},
		{"empty and again", func(c *composer) { c.blocks(2, HeadLen) }, []int{1, 1}},
		{"more than one takes", func(c *composer) { c.blocks(2*segments+6, full) }, []int{segments, segments, 6}},
		{"another packet between", func(c *composer) {
			c.blocks(2, full)
			c.packet([]byte("no"))
			c.blocks(2, full)
		}, []int{2, 1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newComposer(t, nil, full)
			tt.add(c)
			if got := c.messages(); !slices.Equal(got, tt.want) {
				t.Errorf("messages of %v datagrams, want %v", got, tt.want)
			}
			c.arrive()
		})
	}
}

// Messages also end where a message is full, at another route, and where the
// route is not segmented.
func TestMessagesEnd(t *testing.T) {
	const full = 1000
	t.Run("large blocks", func(t *testing.T) {
		c := newComposer(t, nil, 9000)
		c.blocks(15, 9000) // 7 are 63,000 bytes
		if got := c.messages(); !slices.Equal(got, []int{7, 7, 1}) {
			t.Errorf("messages of %v datagrams", got)
		}
		c.arrive()
	})
	t.Run("two routes", func(t *testing.T) {
		a := newComposer(t, nil, full)
		b := newComposer(t, a.w, full)
		for range 3 {
			a.blocks(2, full)
			b.blocks(1, full)
			b.blocks(1, 500)
		}
		if got := a.messages(); !slices.Equal(got, []int{2, 2, 2, 2, 2, 2}) {
			t.Errorf("messages of %v datagrams", got)
		}
		a.arrive()
		b.arrive()
	})
	t.Run("no segments", func(t *testing.T) {
		c := newComposer(t, nil, full)
		c.route.both = 0
		c.blocks(5, full)
		if got := c.messages(); !slices.Equal(got, []int{1, 1, 1, 1, 1}) {
			t.Errorf("messages of %v datagrams", got)
		}
		c.arrive()
	})
	t.Run("more than a flush holds", func(t *testing.T) {
		c := newComposer(t, nil, 60)
		for range 100 {
			c.blocks(7, 60)
			c.blocks(1, 30)
			c.packet([]byte{0, 4, 0, 1})
		}
		c.arrive()
	})
}

// Where the system refuses to cut datagrams up each leaves alone, and all that
// follow; and what is refused for its size alone says nothing of the link.
func TestSegmentsRefused(t *testing.T) {
	c := newComposer(t, nil, 1000)
	// Of a socket without checksums Linux cuts up none: EINVAL.
	if err := unix.SetsockoptInt(int(c.w.sock.system.(kernel)), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	c.blocks(10, 1000)
	c.blocks(1, 700)
	c.blocks(5, 1000)
	if got := c.messages(); !slices.Equal(got, []int{11, 5}) {
		t.Errorf("messages of %v datagrams", got)
	}
	c.arrive()
	if c.route.Segmented() || c.refused != 0 {
		t.Errorf("route %+v, refused %d times", c.route, c.refused)
	}
	c.blocks(3, 1000)
	if got := c.messages(); !slices.Equal(got, []int{1, 1, 1}) {
		t.Errorf("then messages of %v datagrams", got)
	}
	c.arrive()
}
