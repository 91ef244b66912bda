package tftp

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// A blockTaker is a client that keeps nothing of what it gets, and allocates nothing
// to get it.
type blockTaker struct {
	t       testing.TB
	conn    *net.UDPConn
	server  netip.AddrPort
	blksize int
	window  int

	peer  netip.AddrPort
	buf   []byte
	block uint16              // that came last
	after func(uint16) uint16 // nil: that and one
	see   func(data []byte)   // nil: nobody looks
}

func newBlockTaker(t testing.TB, server netip.AddrPort, blksize, window int) *blockTaker {
	return &blockTaker{t: t, server: server, blksize: blksize, window: window, buf: make([]byte, headerLen+blksize+1)}
}

// ask begins a transfer from a port of its own, up to the first blocks.
func (k *blockTaker) ask(name string) {
	k.t.Helper()
	if k.conn != nil {
		k.conn.Close()
	}
	k.conn = listen(k.t, netip.AddrPortFrom(anyOf(k.server.Addr()), 0).String())
	k.conn.SetReadBuffer(1 << 20)
	k.conn.SetReadDeadline(time.Now().Add(time.Minute))
	k.peer, k.block = k.server, 0
	k.send(rrq(name, "blksize", fmt.Sprint(k.blksize), "windowsize", fmt.Sprint(k.window)))
	if p := k.recv(); opcode(p) != opOACK {
		k.t.Fatalf("got %s, want an OACK", short(p))
	}
	k.ack()
}

// anyOf is the address from which every peer of a's family is reached.
func anyOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (k *blockTaker) send(p []byte) {
	if _, err := k.conn.WriteToUDPAddrPort(p, k.peer); err != nil {
		k.t.Fatal(err)
	}
}

func (k *blockTaker) ack() { k.send(appendACK(k.buf[:0], k.block)) }

func (k *blockTaker) recv() []byte {
	n, from, err := k.conn.ReadFromUDPAddrPort(k.buf)
	if err != nil {
		k.t.Fatal(err)
	}
	k.peer = from
	return k.buf[:n]
}

// take takes n blocks, at most, and returns how many there were.
func (k *blockTaker) take(n int) int {
	k.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for i, count := 0, 0; i < n; {
		p := k.recv()
		next := k.block + 1
		if k.after != nil {
			next = k.after(k.block)
		}
		block, data, ok := parseBlock(p)
		switch {
		case !ok || opcode(p) != opDATA:
			k.t.Fatalf("got %s after block %d", short(p), k.block)
		case block != next:
			if count > 0 {
				k.ack()
				count = 0
			}
			continue
		}
		if k.see != nil {
			k.see(data)
		}
		k.block = block
		final := len(data) < k.blksize
		if count++; count == k.window || final {
			k.ack()
			count = 0
		}
		if i++; final {
			return i
		}
	}
	return n
}

// benchFile stays in the cache whole.
const benchFile = 12 << 20

// BenchmarkServerBlock is the server's part of a block, and that of a client
// that does next to nothing, over the loopback: one iteration is one block.
func BenchmarkServerBlock(b *testing.B) {
	for _, window := range []int{1, 64} {
		for _, single := range []bool{false, true} {
			b.Run(fmt.Sprintf("window=%d/single=%v", window, single), func(b *testing.B) {
				file := &disk{data: pattern(benchFile)}
				s := serve(b, nil, func(s *Server) {
					s.SinglePort, s.Log = single, nil
					opens(func(*Request) (*Source, error) { return file.source("f"), nil })(s)
					s.Done = nil
				})
				k := newBlockTaker(b, s.addr, 1428, window)
				k.ask("f")
				k.take(benchFile) // into the cache
				b.SetBytes(1428)
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; {
					b.StopTimer()
					k.ask("f")
					b.StartTimer()
					left -= k.take(left)
				}
			})
		}
	}
}

// What the server does for a block of a file in memory allocates nothing.
func TestBlockAllocatesNothing(t *testing.T) {
	for _, window := range []int{1, 16, 64} {
		file := &disk{data: pattern(benchFile)}
		s := serve(t, nil, func(s *Server) {
			s.Log, s.Done = nil, nil
			opens(func(*Request) (*Source, error) { return file.source("f"), nil })(s)
		})
		k := newBlockTaker(t, s.addr, 1428, window)
		k.ask("f")
		k.take(benchFile)
		var before, after runtime.MemStats
		k.ask("f")
		k.take(window * 8)
		runtime.ReadMemStats(&before)
		n := k.take(window * (4000 / window))
		runtime.ReadMemStats(&after)
		// Go's runtime has its own now and then.
		if got := after.Mallocs - before.Mallocs; got > uint64(n)/100 {
			t.Errorf("window %d: %d allocations for %d blocks", window, got, n)
		}
		s.stop()
	}
}
