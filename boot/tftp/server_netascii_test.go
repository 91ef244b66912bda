package tftp

import (
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// netasciiOf is a text as RFC 764 has it on the wire.
func netasciiOf(text []byte) string {
	return strings.NewReplacer("\n", "\r\n", "\r", "\r\x00").Replace(string(text))
}

// fetchText gets a file in netascii, as it comes, and acknowledges window by
// window; it loses a share of the packets.
func fetchText(t testing.TB, b *testServer, window int, lose float64) string {
	t.Helper()
	w := b.newPeer(t)
	size := []byte{byte('0' + window/10), byte('0' + window%10)}
	w.send(request(opRRQ, "f", "netascii", "windowsize", string(size), "blksize", "1000"))
	if p := w.recv(hangGuard); opcode(p) != opOACK {
		t.Fatalf("got %s, want an OACK", short(p))
	}
	w.send(ack(0))
	var got strings.Builder
	r := rand.New(rand.NewPCG(5, 6))
	for last, count := 0, 0; ; {
		p := w.recv(hangGuard)
		block, data, ok := parseBlock(p)
		if opcode(p) == opOACK {
			continue // once more
		}
		if !ok || opcode(p) != opDATA {
			t.Fatalf("got %s after block %d", short(p), last)
		}
		if r.Float64() < lose {
			continue
		}
		if block != uint16(last+1) {
			if count != 0 { // RFC 7440 section 4: once
				w.send(ack(last))
				count = 0
			}
			continue
		}
		last++
		count++
		got.Write(data)
		if count == window || len(data) < 1000 {
			w.send(ack(last))
			count = 0
		}
		if len(data) < 1000 {
			return got.String()
		}
	}
}

// What fails once is read anew.
func TestNetasciiReadsAnew(t *testing.T) {
	file := &disk{data: []byte("one\ntwo\n")}
	broken := true
	file.fault = func(int64) error {
		if broken {
			return syscall.EIO
		}
		return nil
	}
	src := netasciiSource(file.source(nil))
	buf := make([]byte, 100)
	if _, err := src.ReadAt(buf, 0); err != syscall.EIO {
		t.Errorf("got %v", err)
	}
	broken = false
	if n, err := src.ReadAt(buf, 0); err != io.EOF || string(buf[:n]) != "one\r\ntwo\r\n" {
		t.Errorf("then %q, %v", buf[:n], err)
	}
	if n, err := src.ReadAt(buf, 5); err != io.EOF || string(buf[:n]) != "two\r\n" {
		t.Errorf("from byte 5 %q, %v", buf[:n], err)
	}
	if n, err := src.ReadAt(buf, 50); err != io.EOF || n != 0 {
		t.Errorf("behind its end %q, %v", buf[:n], err)
	}
}

// A text larger than a chunk, in lockstep and windows, and with packets that
// are lost; ends of lines lie on the edges of blocks and chunks.
func TestNetasciiWindows(t *testing.T) {
	synctest.Test(t, testNetasciiWindows)
}

func testNetasciiWindows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := make([]byte, 3*chunkSize)
	for i := range text {
		text[i] = "ab\n\r\x00"[r.IntN(5)]
	}
	want := netasciiOf(text)
	if len(want) < 4*chunkSize {
		t.Fatalf("%d bytes are too few", len(want))
	}
	files := &disk{data: text}
	for _, cache := range []int{16 << 20, 2 * chunkSize} {
		b := serveMemory(t, nil, func(s *Server) {
			s.Timing = fastTiming
			s.Timing.Retries = 20
			opens(func(*Request) (*Source, error) { return files.source("f"), nil })(s)
		})
		b.locked(func(e *engine) { e.limits.Cache = cache })
		for i, window := range []int{1, 8, 64} {
			for j, lose := range []float64{0, .03} {
				if got := fetchText(t, b, window, lose); got != want {
					t.Errorf("window %d, loss %v: %d bytes, want %d", window, lose, len(got), len(want))
				}
				r := b.result(t, 2*i+j)
				if r.Err != nil || r.Bytes != int64(len(want)) || lose > 0 && r.Resent == 0 {
					t.Errorf("window %d, loss %v: %v, %d bytes, %d again", window, lose, r.Err, r.Bytes, r.Resent)
				}
			}
		}
	}
	// A text that fills its last block, and one that is empty.
	for _, n := range []int{0, 1000, chunkSize} {
		text := strings.Repeat("x", n)
		d := &disk{data: []byte(text)}
		b := serveMemory(t, nil, opens(func(*Request) (*Source, error) { return d.source("f"), nil }))
		if got := fetchText(t, b, 8, 0); got != text {
			t.Errorf("%d bytes of %d", len(got), n)
		}
	}
}
