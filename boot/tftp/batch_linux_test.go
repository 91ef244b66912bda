package tftp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/bootlace/bootlace/boot/nettest"
	"golang.org/x/sys/unix"
)

// A composer is a writer and the blocks that it was given.
type composer struct {
	t       *testing.T
	w       *writer
	route   route
	conn    *net.UDPConn // where it leads
	want    [][]byte
	refused int
}

// newComposer's route cuts datagrams of size bytes off.
func newComposer(t *testing.T, w *writer, size int) *composer {
	c := &composer{t: t, w: w, conn: listen(t, "127.0.0.1:0")}
	c.conn.SetReadBuffer(4 << 20)
	if w == nil {
		s, err := newSocket(listen(t, "127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		s.roomy(4 << 20)
		c.w = newWriter(s, func(*route) { c.refused++ })
	}
	c.route = c.w.routeTo(c.conn.LocalAddr().(*net.UDPAddr).AddrPort(), local{netip.MustParseAddr("127.0.0.1"), 1})
	c.route.segmented(size)
	return c
}

// blocks adds n blocks whose datagrams have size bytes, in one piece or two.
func (c *composer) blocks(n, size int) {
	for range n {
		i := len(c.want)
		payload := bytes.Repeat([]byte{byte(i)}, size-headerLen)
		cut := len(payload) * (i % 3) / 2
		c.w.block(&c.route, uint16(i), payload[:cut], payload[cut:])
		c.want = append(c.want, data(i, payload))
	}
}

func (c *composer) packet(p []byte) {
	c.w.packet(&c.route, p)
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
	c.w.flush()
	buf := make([]byte, 1<<16)
	for i, want := range c.want {
		c.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.conn.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			c.t.Fatalf("datagram %d: got %s, %v, want %s", i, short(buf[:n]), err, short(want))
		}
	}
	c.want = nil
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := c.conn.Read(buf); err == nil {
		c.t.Errorf("and then %s", short(buf[:n]))
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
		{"its end is empty", func(c *composer) { c.blocks(3, full); c.blocks(1, headerLen) }, []int{4}},
		{"two windows, short between", func(c *composer) {
			c.blocks(3, full)
			c.blocks(1, 100)
			c.blocks(2, full)
			c.blocks(1, 100)
		}, []int{4, 3}},
		{"short and again", func(c *composer) { c.blocks(1, 100); c.blocks(1, 100); c.blocks(1, 50) }, []int{1, 1, 1}},
		{"empty and again", func(c *composer) { c.blocks(2, headerLen) }, []int{1, 1}},
		{"more than one takes", func(c *composer) { c.blocks(2*segments+6, full) }, []int{segments, segments, 6}},
		{"another packet between", func(c *composer) {
			c.blocks(2, full)
			c.packet(errp(errBusy))
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
			c.packet(ack(1))
		}
		c.arrive()
	})
}

// Where the system refuses to cut datagrams up each leaves alone, and all that
// follow; and what is refused for its size alone says nothing of the link.
func TestSegmentsRefused(t *testing.T) {
	c := newComposer(t, nil, 1000)
	// Of a socket without checksums Linux cuts up none: EINVAL.
	if err := unix.SetsockoptInt(c.w.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	c.blocks(10, 1000)
	c.blocks(1, 700)
	c.blocks(5, 1000)
	if got := c.messages(); !slices.Equal(got, []int{11, 5}) {
		t.Errorf("messages of %v datagrams", got)
	}
	c.arrive()
	if c.route.both != 0 || c.refused != 0 {
		t.Errorf("route %+v, refused %d times", c.route, c.refused)
	}
	c.blocks(3, 1000)
	if got := c.messages(); !slices.Equal(got, []int{1, 1, 1}) {
		t.Errorf("then messages of %v datagrams", got)
	}
	c.arrive()
}

// A whole transfer over a socket that cuts nothing up, to a link-local address
// or none, in windows.
func TestTransferWithoutSegments(t *testing.T) {
	t.Parallel()
	file := pattern(500_000)
	b := serveEngine(t, map[string][]byte{"f": file}, nil)
	b.look(func(e *engine) {
		if err := unix.SetsockoptInt(e.data.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Fatal(err)
		}
	})
	for _, window := range []int{1, 16, 64} {
		k := newTaker(t, b.addr, 1428, window)
		var got bytes.Buffer
		k.see = func(data []byte) { got.Write(data) }
		k.ask("f")
		k.take(100)
		if window > 1 {
			b.look(func(e *engine) {
				for _, tr := range e.active {
					if tr.route.both != 0 {
						t.Errorf("window %d: segments are still tried", window)
					}
				}
			})
		}
		k.take(1000)
		if !bytes.Equal(got.Bytes(), file) {
			t.Errorf("window %d: %d bytes that differ", window, got.Len())
		}
	}
}

// A link whose device computes no checksums: older kernels cut nothing up for
// it (EIO), newer ones do. The transfer is whole, and on the former the next
// transfer knows.
func TestLinkWithoutChecksums(t *testing.T) {
	t.Parallel()
	a, b := nettest.Pair(t, "10.74.0.1/24", "10.74.0.2/24")
	a.Do(t, func() { noChecksums(t, "eth0") })
	startIn(t, a, "0.0.0.0:1069")
	b.Do(t, func() {
		for range 2 {
			var got bytes.Buffer
			tr, err := (&Client{}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1069), "1000000", &got)
			if err != nil || !bytes.Equal(got.Bytes(), pattern(1_000_000)) || tr.Windowsize != 64 {
				t.Errorf("%+v, %v", tr, err)
			}
		}
	})
}

// noChecksums is `ethtool -K link tx off`.
func noChecksums(t *testing.T, link string) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_GTXCSUM} {
		value := struct{ cmd, data uint32 }{cmd, 0}
		var req struct { // struct ifreq of netdevice(7)
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(req.name[:], link)
		req.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			t.Fatalf("turn checksums of %s off: %v", link, errno)
		}
		if value.data != 0 {
			t.Fatalf("checksums of %s are still on", link)
		}
	}
}

// A path that becomes narrower in the middle of a transfer: the system refuses
// segments that need fragments, and each block leaves alone from there.
func TestPathShrinks(t *testing.T) {
	t.Parallel()
	a, b := nettest.Pair(t, "10.75.0.1/24", "10.75.0.2/24")
	startIn(t, a, "0.0.0.0:1069")
	b.Do(t, func() {
		k := newTaker(t, netip.AddrPortFrom(a.Addr, 1069), 1428, 16)
		var got bytes.Buffer
		k.see = func(data []byte) { got.Write(data) }
		k.ask("1000000")
		k.take(160)
		ipCommand(t, "-n", a.Name, "route", "add", "10.75.0.2/32", "dev", "eth0", "mtu", "1000")
		k.take(1000)
		if !bytes.Equal(got.Bytes(), pattern(1_000_000)) {
			t.Errorf("%d bytes that differ", got.Len())
		}
	})
}
