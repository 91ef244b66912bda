//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

func content(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// served is a load on a file that pin/tftp serves on loopback.
func served(t *testing.T, file []byte) *options {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(nettest.TFTP(t, dir, 50*time.Millisecond))
	return &options{server: at, name: "file", want: file, clients: 1, threads: 1, blksize: 1428, windowsize: 1,
		timeout: 300 * time.Millisecond, tries: 10, patience: 10 * time.Second, seed: 1, over: 100 * time.Millisecond}
}

func TestLoads(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		change func(o *options)
	}{
		{"one client", 1 << 20, func(*options) {}},
		{"one client, 512", 100_000, func(o *options) { o.blksize = 512 }},
		{"whole blocks", 10 * 1428, func(*options) {}},
		{"empty", 0, func(*options) {}},
		{"windows, which this server does not grant", 100_000, func(o *options) { o.windowsize = 16 }},
		{"40 clients", 100_000, func(o *options) { o.clients, o.threads, o.spread = 40, 2, 20*time.Millisecond }},
		{"delay", 10_000, func(o *options) { o.delay = time.Millisecond }},
		{"loss", 50_000, func(o *options) { o.clients, o.loss = 10, 0.02 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := served(t, content(c.size))
			c.change(o)
			r, err := generate(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Clients != o.clients || r.Failed != nil || r.Bytes != int64(o.clients*c.size) || r.Windowsize != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Every answer 20 ms late, 8 blocks and an OACK.
func TestDelayIsWaited(t *testing.T) {
	t.Parallel()
	o := served(t, content(7*1428+1))
	o.delay, o.timeout = 20*time.Millisecond, 5*time.Second
	r, err := generate(t.Context(), o)
	// The last ACK is not waited for.
	if err != nil || r.Failed != nil || r.Seconds < 0.159 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Of a server that never resends, every packet lost costs its client a timeout,
// whichever way it went.
func TestLossIsDrawn(t *testing.T) {
	t.Parallel()
	o := served(t, content(100_000))
	o.server = answering(t, func(p []byte) []byte {
		n := int(binary.BigEndian.Uint16(p[2:])) // of an ACK
		switch {
		case binary.BigEndian.Uint16(p) == conformance.OpRRQ:
			return []byte("\x00\x06blksize\x001428\x00")
		case n*1428 > len(o.want):
			return nil
		}
		return append(binary.BigEndian.AppendUint16([]byte{0, conformance.OpDATA}, uint16(n+1)), o.want[n*1428:min(n*1428+1428, len(o.want))]...)
	})
	o.clients, o.loss, o.timeout = 8, 0.05, 100*time.Millisecond
	r, err := generate(t.Context(), o)
	if err != nil || r.Failed != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	// A twentieth of 8 clients' 72 packets each way.
	if r.Repeats < 57/2 || r.Repeats > 57*2 {
		t.Errorf("%d repeats, want about 57", r.Repeats)
	}
}

// What a server does wrong is found, with one client and with many.
func TestFailuresAreReported(t *testing.T) {
	right := content(20_000)
	wrong := bytes.Clone(right)
	wrong[12_345] ^= 1
	for _, c := range []struct {
		name    string
		file    []byte
		corrupt bool
		says    string
		change  func(o *options)
	}{
		{"a wrong byte", wrong, true, "wrong byte at 12345", nil},
		{"truncated", right[:15_000], true, "ends after 15000 of 20000 bytes", nil},
		{"truncated to whole blocks", right[:1428*10], true, "ends after 14280 of 20000 bytes", nil},
		{"too long", append(bytes.Clone(right), 0), true, "longer than 20000 bytes", nil},
		{"no such file", right, false, "ERROR 1", func(o *options) { o.name = "other" }},
		{"nobody there", right, false, "no answer to 3 packets", func(o *options) {
			o.server = netip.MustParseAddrPort("127.0.0.1:1")
			o.timeout, o.tries = 50*time.Millisecond, 2
		}},
		{"a server that dies", right, false, "no answer to 3 packets", func(o *options) {
			o.server = dying(t, right)
			o.timeout, o.tries = 50*time.Millisecond, 2
		}},
		{"out of time", right, false, "ran out of time", func(o *options) {
			o.server = netip.MustParseAddrPort("127.0.0.1:1")
			o.timeout, o.patience = 20*time.Millisecond, 60*time.Millisecond
		}},
	} {
		for _, clients := range []int{1, 5} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				o := served(t, c.file)
				o.want, o.clients = right, clients
				if c.change != nil {
					c.change(o)
				}
				r, err := generate(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Bytes != 0 || len(r.Failed) != 1 || (r.Corrupt == clients) != c.corrupt {
					t.Fatalf("%+v", r)
				}
				for why, n := range r.Failed {
					if !strings.Contains(why, c.says) || n != clients {
						t.Errorf("%d × %q, want %q", n, why, c.says)
					}
				}
			})
		}
	}
}

// dying is a server that sends the first block and no more.
func dying(t *testing.T, file []byte) netip.AddrPort {
	return answering(t, func(p []byte) []byte {
		if binary.BigEndian.Uint16(p) != conformance.OpRRQ {
			return nil
		}
		return append([]byte{0, conformance.OpDATA, 0, 1}, file[:512]...)
	})
}

// answering is a server on loopback that knows no more than the packet at hand.
func answering(t *testing.T, answer func(p []byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if p := answer(buf[:n]); p != nil {
				conn.WriteToUDPAddrPort(p, from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"", "127.8.0.0/16"} {
		o := served(t, content(50_000))
		o.halfOpen = 100
		if from != "" {
			o.from = netip.MustParsePrefix(from)
		}
		r, err := generate(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Clients == 0 || r.Failed != nil || r.Strangers != 100 || r.Answers < 1 || r.Seconds == 0 {
			t.Errorf("from %q: %+v", from, r)
		}
	}
}
