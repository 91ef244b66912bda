package tftp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// serveEnv makes the test binary a server, for a process of its own in a
// namespace: a socket that a goroutine opens later would not be in it.
const serveEnv = "TFTP_TEST_SERVE"

func TestMain(m *testing.M) {
	if at := os.Getenv(serveEnv); at != "" {
		if err := serveFiles(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveFiles serves files named by their size at an address, with one port if
// that ends in "!", in fragments if in "~".
func serveFiles(at string) error {
	s := &Server{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Open: func(_ context.Context, r *Request) (*Source, error) {
		var n int
		if _, err := fmt.Sscan(r.Name, &n); err != nil {
			return nil, &Error{CodeNotFound, "no such size"}
		}
		return &Source{ReaderAt: bytes.NewReader(pattern(n)), Size: int64(n)}, nil
	}}
	switch at[len(at)-1] {
	case '!':
		at, s.SinglePort = at[:len(at)-1], true
	case '~':
		at, s.Fragments = at[:len(at)-1], true
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Serve(context.Background(), conn)
}

// startIn runs such a server in a namespace until the test ends.
func startIn(t *testing.T, n *nettest.NS, at string) {
	t.Helper()
	cmd := n.Command(t, os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+at)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Fatalf("server at %s: %v", at, err)
	}
}

func ipCommand(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(nettest.Need(t, "ip"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v: %s", args, err, out)
	}
}

// Answers leave from the address that was asked, of a server that listens on
// all of them and has several; blocks fit the path; and a request to a
// broadcast address is not answered.
func TestAddresses(t *testing.T) {
	t.Parallel()
	a, b := nettest.Pair(t, "10.70.0.1/24", "10.70.0.2/24")
	for _, addr := range []string{"10.70.0.9/24", "10.71.0.1/32", "fd70::1/64", "fd70::9/64", "fe80::9/64"} {
		ipCommand(t, "-n", a.Name, "addr", "add", addr, "dev", "eth0", "nodad")
	}
	for _, addr := range []string{"fd70::2/64", "fe80::8/64"} {
		ipCommand(t, "-n", b.Name, "addr", "add", addr, "dev", "eth0", "nodad")
	}
	ipCommand(t, "-n", b.Name, "route", "add", "10.71.0.1/32", "via", "10.70.0.1")
	ipCommand(t, "-n", b.Name, "route", "add", "255.255.255.255/32", "dev", "eth0")
	for port, at := range map[uint16]string{1069: "[::]:1069", 1070: "[::]:1070!", 1071: "0.0.0.0:1071", 1072: "0.0.0.0:1072!"} {
		startIn(t, a, at)
		for _, host := range []string{"10.70.0.1", "10.70.0.9", "10.71.0.1", "fd70::1", "fd70::9", "fe80::9%eth0", "fe80::9%2"} {
			addr := netip.MustParseAddr(host)
			if addr.Is6() && at[0] != '[' || addr.Zone() == "2" && !zoneIs(t, b, 2) {
				continue
			}
			var got bytes.Buffer
			var tr Stats
			var err error
			b.Do(t, func() {
				c := &Client{Blksize: 65464, Timing: Timing{Initial: 300 * time.Millisecond}}
				tr, err = c.Get(t.Context(), netip.AddrPortFrom(addr, port), "100000", &got)
			})
			most := 1468
			if addr.Is6() {
				most = 1448
			}
			if err != nil || !bytes.Equal(got.Bytes(), pattern(100_000)) || tr.Blksize != most || tr.Windowsize != 64 {
				t.Errorf("%s at %s: %+v, %v", host, at, tr, err)
			}
		}
		b.Do(t, func() {
			conn, err := net.ListenUDP("udp4", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, to := range []string{"10.70.0.255", "255.255.255.255"} {
				if _, err := conn.WriteToUDPAddrPort(rrq("1"), netip.AddrPortFrom(netip.MustParseAddr(to), port)); err != nil {
					t.Errorf("send to %s: %v", to, err)
				}
			}
			conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, from, err := conn.ReadFromUDPAddrPort(make([]byte, 600)); err == nil {
				t.Errorf("broadcast at %s: %d bytes from %v", at, n, from)
			}
		})
	}
}

func zoneIs(t *testing.T, n *nettest.NS, index int) (is bool) {
	n.Do(t, func() {
		i, err := net.InterfaceByName("eth0")
		is = err == nil && i.Index == index
	})
	return is
}

// A path narrower than the link, which only the route knows.
func TestPathMTU(t *testing.T) {
	t.Parallel()
	a, b := nettest.Pair(t, "10.72.0.1/24", "10.72.0.2/24")
	ipCommand(t, "-n", a.Name, "route", "add", "10.72.0.2/32", "dev", "eth0", "mtu", "1300")
	startIn(t, a, "0.0.0.0:1069")
	b.Do(t, func() {
		var got bytes.Buffer
		tr, err := (&Client{}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1069), "5000", &got)
		if err != nil || got.Len() != 5000 || tr.Blksize != 1268 {
			t.Errorf("%+v, %v", tr, err)
		}
	})
	// Who sets it so gets what he asks for, in fragments.
	startIn(t, a, "0.0.0.0:1070~")
	b.Do(t, func() {
		for _, window := range []int{1, 64} {
			var got bytes.Buffer
			tr, err := (&Client{Blksize: 8000, Windowsize: window}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1070), "1000000", &got)
			if err != nil || !bytes.Equal(got.Bytes(), pattern(1_000_000)) || tr.Blksize != 8000 {
				t.Errorf("fragments: %+v, %v", tr, err)
			}
		}
	})
	// A path that turns out narrower in mid-transfer.
	ipCommand(t, "-n", a.Name, "route", "replace", "10.72.0.2/32", "dev", "eth0")
	startIn(t, a, "0.0.0.0:1071")
	for _, window := range []int{1, 64} {
		narrow := &tripwire{after: 300_000, f: func() {
			ipCommand(t, "-n", a.Name, "route", "replace", "10.72.0.2/32", "dev", "eth0", "mtu", "1300")
		}}
		b.Do(t, func() {
			var got bytes.Buffer
			tr, err := (&Client{Blksize: 1468, Windowsize: window}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1071), "1000000", io.MultiWriter(&got, narrow))
			if err != nil || !bytes.Equal(got.Bytes(), pattern(1_000_000)) || tr.Blksize != 1468 {
				t.Errorf("narrower: %+v, %v", tr, err)
			}
		})
		ipCommand(t, "-n", a.Name, "route", "replace", "10.72.0.2/32", "dev", "eth0")
	}
	// To itself a host sends over its loopback, whatever the address.
	a.Do(t, func() {
		tr, err := (&Client{Blksize: 65464}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1069), "5000", io.Discard)
		if err != nil || tr.Blksize != 65464 {
			t.Errorf("local: %+v, %v", tr, err)
		}
	})
}

// A transfer outlives a cable that is pulled for a second. What that costs is
// asserted by TestLinkDown.
func TestCablePulled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"0.0.0.0:1069", "0.0.0.0:1069!"} {
		a, b := nettest.Pair(t, "10.73.0.1/24", "10.73.0.2/24")
		startIn(t, a, at)
		pull := &tripwire{after: 700_000, f: func() {
			ipCommand(t, "-n", a.Name, "link", "set", "eth0", "down")
			time.AfterFunc(time.Second, func() { ipCommand(t, "-n", a.Name, "link", "set", "eth0", "up") })
		}}
		b.Do(t, func() {
			var got bytes.Buffer
			tr, err := (&Client{}).Get(t.Context(), netip.AddrPortFrom(a.Addr, 1069), "2000000", io.MultiWriter(&got, pull))
			if err != nil || !bytes.Equal(got.Bytes(), pattern(2_000_000)) {
				t.Errorf("%s: %+v, %v", at, tr, err)
			}
			if tr.Took < time.Second {
				t.Errorf("%s: took %v", at, tr.Took)
			}
		})
	}
}

// A tripwire calls f once it took some bytes.
type tripwire struct {
	after int
	f     func()
}

func (w *tripwire) Write(p []byte) (int, error) {
	if w.after > 0 && w.after <= len(p) {
		w.f()
	}
	w.after -= len(p)
	return len(p), nil
}
