package tftp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An ACK that comes while a chunk is read has the window begin anew, whatever
// was at hand for the block that waits.
func TestACKWhileReading(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	file := &disk{data: pattern(300_000), fault: func(off int64) error {
		if off > 0 {
			<-release
		}
		return nil
	}}
	b := serveEngine(t, nil, func(s *Server) {
		s.Timing = noTimeouts
		opens(func(*Request) (*Source, error) { return file.source("f"), nil })(s)
	})
	w := b.newPeer(t)
	const size = 1428 // block 46 needs two chunks
	wants := func(from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			w.want(data(n, file.data[(n-1)*size:n*size]))
		}
	}
	w.send(rrq("f", "blksize", "1428", "windowsize", "64"))
	w.want([]byte("\x00\x06blksize\x001428\x00windowsize\x0064\x00"))
	w.send(ack(0))
	wants(1, 45)
	w.send(ack(20))
	wants(21, 45)
	w.send(ack(45))
	w.silent(50 * time.Millisecond)
	close(release)
	wants(46, 109)
	w.send(errp(errCancelled))
}

// A block that needs two chunks gets both, although the second takes the room
// of all others, and other transfers take theirs meanwhile.
func TestBlockOfTwoChunks(t *testing.T) {
	t.Parallel()
	files := map[string]*disk{}
	for i := range 4 {
		files[fmt.Sprint(i)] = &disk{data: pattern(3*chunkSize + i)}
	}
	for _, limit := range []int{1, chunkSize, 3 * chunkSize} {
		for _, hit := range []func(off int64) bool{
			func(off int64) bool { return off/chunkSize%2 == 0 }, // every other chunk takes a goroutine
			func(off int64) bool { return false },
			func(off int64) bool { return true },
		} {
			b := serveEngine(t, nil, opens(func(r *Request) (*Source, error) {
				f := files[r.Name]
				src := f.source(f)
				src.ReaderAt = &nowDisk{disk: f, hit: hit}
				return src, nil
			}))
			b.locked(func(e *engine) { e.limits.Cache = limit }) // less than Limits allow
			var all sync.WaitGroup
			for name, f := range files {
				all.Go(func() {
					for i, blksize := range []int{1428, 60_000} {
						fetch(t, b, &Client{Blksize: blksize, Windowsize: 1 + i*7}, name, f.data)
					}
				})
			}
			all.Wait()
		}
	}
}

// While a block waits for its second chunk the first may go: it is not read
// again, or two chunks that drive each other out would go on for ever.
func TestFirstChunkGoes(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var firsts atomic.Int64
	file := &disk{data: pattern(2 * chunkSize), fault: func(off int64) error {
		if off == 0 {
			firsts.Add(1)
			return nil
		}
		<-release
		return nil
	}}
	other := &disk{data: pattern(10)}
	b := serveEngine(t, nil, func(s *Server) {
		s.Timing = noTimeouts
		opens(func(r *Request) (*Source, error) {
			if r.Name == "other" {
				return other.source(nil), nil
			}
			return file.source("file"), nil
		})(s)
	})
	b.locked(func(e *engine) { e.limits.Cache = 1 })
	w := b.newPeer(t)
	w.send(rrq("file", "blksize", "1428"))
	w.want([]byte("\x00\x06blksize\x001428\x00"))
	block := func(n int) []byte { return data(n, file.data[(n-1)*1428:n*1428]) }
	for n := range 45 {
		w.send(ack(n))
		w.want(block(n + 1))
	}
	w.send(ack(45))
	eventually(t, "the block waits", func() (waits bool) {
		b.locked(func(e *engine) {
			for _, tr := range e.active {
				waits = tr.read.missing != nil && tr.read.missing.index == 1
			}
		})
		return waits
	})
	for range 2 { // the second finds it no longer in hand
		fetch(t, b, &Client{}, "other", other.data)
	}
	b.locked(func(e *engine) {
		for _, k := range e.cache.chunks {
			if k.index == 0 && k.file.key == "file" {
				t.Error("the first chunk is still there")
			}
		}
	})
	close(release)
	w.want(block(46))
	if n := firsts.Load(); n != 1 {
		t.Errorf("the first chunk was read %d times", n)
	}
	w.send(errp(errCancelled))
}
