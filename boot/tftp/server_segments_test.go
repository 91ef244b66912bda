package tftp

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/bootlace/bootlace/boot/nettest"
	"golang.org/x/sys/unix"
)

// A whole transfer over a socket that cuts nothing up, in windows. Linux cuts
// nothing up for a socket without checksums (EINVAL).
func TestTransferWithoutSegments(t *testing.T) {
	t.Parallel()
	file := pattern(500_000)
	conn := listen(t, "127.0.0.1:0")
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ferr error
	err = raw.Control(func(fd uintptr) { ferr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
	if err := errors.Join(err, ferr); err != nil {
		t.Fatal(err)
	}
	b := newTestServer(t, conn, map[string][]byte{"f": file}, func(s *Server) { s.SinglePort = true })
	b.startEngine(t, conn)
	for _, window := range []int{1, 16, 64} {
		k := newBlockTaker(t, b.addr, 1428, window)
		var got bytes.Buffer
		k.see = func(data []byte) { got.Write(data) }
		k.ask("f")
		k.take(100)
		if window > 1 {
			b.locked(func(e *engine) {
				for _, tr := range e.active {
					if tr.route.Segmented() {
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
		k := newBlockTaker(t, netip.AddrPortFrom(a.Addr, 1069), 1428, 16)
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
