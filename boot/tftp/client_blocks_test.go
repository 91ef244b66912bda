package tftp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/bootlace/bootlace/boot/udp"
)

// A blockSender is a server of one file that allocates nothing for a block. It sends a
// window for each ACK, and nothing by time.
type blockSender struct {
	addr    netip.AddrPort
	ended   chan struct{}
	file    []byte // what block n holds begins at n × blksize, modulo its length
	blksize int
	window  int
	size    int64
	wrapTo  uint16 // the block after 65535
	merged  bool   // as UDP_SEGMENT does
	lose    int64  // this block once; the windows then begin there
}

// start answers the requests of one client after the other. It ends with the test.
func (g *blockSender) start(t testing.TB) {
	t.Helper()
	conn := listen(t, "127.0.0.1:0")
	g.addr = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := udp.NewSocket(conn)
	if err != nil {
		t.Fatal(err)
	}
	s.SetBuffers(1 << 20)
	g.ended = make(chan struct{})
	go func() {
		defer close(g.ended)
		g.serve(s)
	}()
	t.Cleanup(func() {
		s.Interrupt()
		<-g.ended
		s.Close()
	})
}

// number is that of the n-th block, from 1.
func (g *blockSender) number(n int64) uint16 {
	if n <= 65535 {
		return uint16(n)
	}
	return uint16((n-65536)%(65536-int64(g.wrapTo))) + g.wrapTo
}

func (g *blockSender) serve(s *udp.Socket) {
	in, out := udp.NewReader(s, 1, 1024), udp.NewWriter(s)
	var to udp.Route
	var acked, sent int64 // blocks
	lose := g.lose
	for {
		n, err := in.Read()
		if n == 0 || err != nil {
			return
		}
		switch p := in.Datagram(0); opcode(p) {
		case opRRQ:
			to = s.RouteTo(in.From(0), udp.Local{Addr: g.addr.Addr()})
			if g.merged {
				to.Segment(headerLen + g.blksize)
			}
			acked, sent = 0, 0
			o := Options{TSize: g.size > 0, Size: g.size, Blksize: g.blksize, Windowsize: g.window}
			if g.window == 1 {
				o.Windowsize = 0
			}
			out.Packet(&to, appendOACK(nil, o))
			out.Flush()
		case opACK:
			block, _, _ := parseBlock(p)
			for acked < sent && g.number(acked) != block {
				acked++
			}
			if acked == 0 && block != 0 || g.number(acked) != block && acked > 0 {
				panic(fmt.Sprintf("block %d is acknowledged, %d were sent", block, sent))
			}
			last := g.size/int64(g.blksize) + 1
			for sent = acked; sent < min(acked+int64(g.window), last); sent++ {
				if sent+1 == lose {
					lose = 0
					continue
				}
				at := sent * int64(g.blksize)
				data := g.file[at%int64(len(g.file)):]
				out.Block(&to, dataHeader(g.number(sent+1)), data[:min(int64(g.blksize), g.size-at)], nil)
			}
			out.Flush()
		}
	}
}

// BenchmarkClientBlock is the client's part of a block, and that of a server
// that does next to nothing, over the loopback: one iteration is one block.
func BenchmarkClientBlock(b *testing.B) {
	for _, window := range []int{1, 64} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			const blksize = 1428
			g := &blockSender{file: pattern(1024 * blksize), blksize: blksize, window: window, merged: true}
			g.size = int64(b.N)*blksize - 1
			g.start(b)
			b.SetBytes(blksize)
			b.ReportAllocs()
			b.ResetTimer()
			tr, err := (&Client{Windowsize: window}).Get(b.Context(), g.addr, "f", io.Discard)
			if err != nil || tr.Bytes != g.size {
				b.Fatalf("%+v, %v", tr, err)
			}
		})
	}
}

// What the client does for a block allocates nothing.
func TestClientAllocatesNothing(t *testing.T) {
	for _, window := range []int{1, 16, 64} {
		const blksize, blocks = 1428, 8000
		g := &blockSender{file: pattern(1024 * blksize), blksize: blksize, window: window, merged: true}
		g.size = blocks * blksize
		g.start(t)
		var before, after runtime.MemStats
		w := &tripwire{after: 1, f: func() { runtime.ReadMemStats(&before) }}
		if _, err := (&Client{Windowsize: window}).Get(t.Context(), g.addr, "f", w); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		// The end of the transfer and Go's runtime have a few.
		if got := after.Mallocs - before.Mallocs; got > blocks/100 {
			t.Errorf("window %d: %d allocations for %d blocks", window, got, blocks)
		}
	}
}

// repeats checks that what it is given is file again and again.
type repeats struct {
	file []byte
	n    int64
}

func (r *repeats) Write(p []byte) (int, error) {
	for q := p; len(q) > 0; {
		want := r.file[r.n%int64(len(r.file)):]
		want = want[:min(len(want), len(q))]
		if !bytes.Equal(q[:len(want)], want) {
			return 0, fmt.Errorf("other bytes after %d", r.n)
		}
		q, r.n = q[len(want):], r.n+int64(len(want))
	}
	return len(p), nil
}

// After block 65535 a server may go on with 0 or with 1, in lockstep, and where
// it comes in the middle of a window; and a long transfer goes round again.
func TestGetRollover(t *testing.T) {
	t.Parallel()
	for _, wrapTo := range []uint16{0, 1} {
		for _, tt := range []struct{ window, lose, blocks int }{
			{1, 0, 66_000},
			{16, 0, 140_000}, // 65535 is the last but one of its window, as with all powers of 2
			{16, 16, 66_000}, // the last of its window
			{16, 8, 66_000},  // in the midst of it
			{15, 0, 66_000},
			{15, 65_536, 66_000}, // what follows 65535 is lost
			{64, 0, 65_535},
			{64, 0, 65_536},
		} {
			name := fmt.Sprintf("to %d/%+v", wrapTo, tt)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g := &blockSender{blksize: 8, window: tt.window, lose: int64(tt.lose), wrapTo: wrapTo, file: pattern(8 * 1021)}
				g.size = int64(tt.blocks)*8 - 3
				g.start(t)
				w := &repeats{file: g.file}
				tr, err := (&Client{Windowsize: tt.window}).Get(t.Context(), g.addr, "f", w)
				if err != nil || w.n != g.size {
					t.Errorf("%+v, %v", tr, err)
				}
			})
		}
	}
}

// Blocks of all sizes come merged, whole and in order, and after one was lost.
func TestGetMerged(t *testing.T) {
	t.Parallel()
	for _, blksize := range []int{8, 500, 1428, 9000, 32_000, 65_464} {
		for _, window := range []int{2, 16, 64, 1000} {
			t.Run(fmt.Sprintf("%d/%d", blksize, window), func(t *testing.T) {
				g := &blockSender{blksize: blksize, window: window, lose: 45, merged: true, file: pattern(8 * blksize)}
				g.size = int64(min(5000*blksize, 4<<20)) + 5
				g.start(t)
				w := &repeats{file: g.file}
				tr, err := (&Client{Blksize: blksize, Windowsize: window}).Get(t.Context(), g.addr, "f", w)
				if err != nil || w.n != g.size {
					t.Errorf("%+v, %v", tr, err)
				}
			})
		}
	}
}
