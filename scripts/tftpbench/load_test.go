//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
	"github.com/bootlace/bootlace/boot/tftp/upload"
)

func content(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// served is a load on a file that a server on loopback serves.
func served(t *testing.T, file []byte) *options {
	t.Helper()
	return &options{server: answering(t, blocks(file)), name: "file", want: file, clients: 1, threads: 1, blksize: 1428, windowsize: 1,
		timeout: time.Second, tries: 60, patience: 2 * time.Minute, seed: 1, over: 100 * time.Millisecond}
}

// servedByPin is a load on pin/tftp. That gives up after four timeouts, and a
// client may be late on a busy machine.
func servedByPin(t *testing.T, file []byte) *options {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	o := served(t, file)
	o.server = netip.MustParseAddrPort(upload.ServeFolder(t, dir, 2*time.Second))
	return o
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
		{"loss", 50_000, func(o *options) {
			o.server = answering(t, blocks(o.want)) // pin takes long for each
			o.clients, o.loss, o.timeout = 10, 0.02, 100*time.Millisecond
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := servedByPin(t, content(c.size))
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

// The server never resends. So every packet lost costs its client a timeout,
// whichever way it went.
func TestLossIsDrawn(t *testing.T) {
	t.Parallel()
	o := served(t, content(100_000))
	o.clients, o.loss, o.timeout = 8, 0.05, 400*time.Millisecond
	r, err := generate(t.Context(), o)
	if err != nil || r.Failed != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	// A twentieth of 8 clients' 72 packets each way. Where the machine stands
	// still each client repeats one more.
	if r.Repeats < 57/2 || r.Repeats > 57*4 {
		t.Errorf("%d repeats, want about 57", r.Repeats)
	}
}

// blocks answers for a server of blocks of 1428 bytes that never resends by
// itself.
func blocks(file []byte) func(p []byte) []byte {
	return func(p []byte) []byte {
		n := int(binary.BigEndian.Uint16(p[2:])) // of an ACK
		switch {
		case binary.BigEndian.Uint16(p) == conformance.OpRRQ:
			return []byte("\x00\x06blksize\x001428\x00")
		case n*1428 > len(file):
			return nil
		}
		return append(binary.BigEndian.AppendUint16([]byte{0, conformance.OpDATA}, uint16(n+1)), file[n*1428:min(n*1428+1428, len(file))]...)
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
			t.Run(fmt.Sprintf("%s, clients: %d", c.name, clients), func(t *testing.T) {
				t.Parallel()
				o := servedByPin(t, c.file)
				if c.corrupt { // pin would wait for a client that has gone
					o = served(t, c.file)
				}
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
	for name, from := range map[string]netip.Prefix{"the clients' address": {}, "addresses of their own": netip.MustParsePrefix("127.8.0.0/16")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := served(t, content(50_000))
			o.halfOpen, o.from = 100, from
			r, err := generate(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			// The last client asks after them, so they were answered before.
			if r.Clients == 0 || r.Failed != nil || r.Strangers != 100 || r.Answers < 1 || r.Seconds == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}
