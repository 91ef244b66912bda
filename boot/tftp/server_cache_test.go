package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A disk is a file that tells how it was read.
type disk struct {
	data  []byte
	reads atomic.Int64
	bytes atomic.Int64
	open  atomic.Int64
	most  atomic.Int64          // that were open at once
	fault func(off int64) error // nil: none
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if d.fault != nil {
		if err := d.fault(off); err != nil {
			return 0, err
		}
	}
	n, err := bytes.NewReader(d.data).ReadAt(p, off)
	d.reads.Add(1)
	d.bytes.Add(int64(n))
	return n, err
}

// source opens it.
func (d *disk) source(key any) *Source {
	if n := d.open.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	return &Source{ReaderAt: d, Size: int64(len(d.data)), Key: key, Close: func() error { d.open.Add(-1); return nil }}
}

// opens has a server serve what open returns.
func opens(open func(r *Request) (*Source, error)) func(*Server) {
	return func(s *Server) {
		s.Open = func(_ context.Context, r *Request) (*Source, error) { return open(r) }
	}
}

// fetch gets a file, by a client of its own.
func fetch(t testing.TB, b *testServer, c *Client, name string, want []byte) {
	t.Helper()
	var got bytes.Buffer
	if tr, err := c.Get(t.Context(), b.addr, name, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: %+v, %v", name, tr, err)
	}
}

// eventually waits for what other goroutines do.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range hangGuard / (10 * time.Millisecond) {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: not within %v", what, hangGuard)
}

// Devices that boot at once read one file: the disk does so once, and of what
// they opened one is kept.
func TestBootStorm(t *testing.T) {
	t.Parallel()
	const clients = 50
	file := &disk{data: pattern(300_000)}
	var key atomic.Int64
	b := serve(t, nil, opens(func(*Request) (*Source, error) { return file.source(key.Load()), nil }))
	storm := func() {
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() { fetch(t, b, &Client{Windowsize: 1 + i%2*15}, "f", file.data) })
		}
		all.Wait()
	}
	for round := range int64(3) {
		if round == 2 {
			key.Store(1) // the file was replaced
		}
		storm()
		eventually(t, "sources are closed", func() bool { return file.open.Load() == 0 })
		want := int64(len(file.data))
		if round == 2 {
			want *= 2
		}
		if got := file.bytes.Load(); got != want {
			t.Errorf("round %d: %d bytes were read, want %d", round, got, want)
		}
	}
	if n := file.reads.Load(); n != 2*(300_000/chunkSize+1) {
		t.Errorf("%d reads", n)
	}
}

// What a client is sent of a file, it gets of the bytes that had that Key when
// it asked.
func TestKeyChanges(t *testing.T) {
	t.Parallel()
	old, young := &disk{data: pattern(300_000)}, &disk{data: pattern(300_001)}
	var now atomic.Pointer[disk]
	now.Store(old)
	b := serve(t, nil, func(s *Server) {
		s.Timing = noTimeouts
		opens(func(*Request) (*Source, error) { d := now.Load(); return d.source(d), nil })(s)
	})
	w := b.newPeer(t)
	w.send(rrq("f"))
	w.want(data(1, old.data[:512]))
	now.Store(young)
	fetch(t, b, &Client{}, "f", young.data)
	for n := 1; n < 586; n++ { // far into chunks that were not read yet
		w.send(ack(n))
		w.want(data(n+1, old.data[n*512:min((n+1)*512, len(old.data))]))
	}
	w.send(ack(586))
	eventually(t, "sources are closed", func() bool { return old.open.Load()+young.open.Load() == 0 })
}

// A cache that holds a seventh of what is asked for keeps to its size, and every
// block comes whole. Blocks of 1428 bytes and chunks have no common end, so
// that many blocks need two chunks at once.
func TestSmallCache(t *testing.T) {
	t.Parallel()
	for _, now := range []bool{false, true} {
		t.Run(fmt.Sprintf("now=%v", now), func(t *testing.T) {
			t.Parallel()
			const clients, limit = 50, 4 << 20
			files := make([]*disk, clients)
			for i := range files {
				files[i] = &disk{data: pattern(150_000 + i)}
			}
			b := serveEngine(t, nil, func(s *Server) {
				s.Limits.Cache = limit
				opens(func(r *Request) (*Source, error) {
					var i int
					fmt.Sscan(r.Name, &i)
					src := files[i].source(files[i])
					if now {
						src.ReaderAt = &nowDisk{disk: files[i], hit: func(off int64) bool { return off/chunkSize%2 == 1 }}
					}
					return src, nil
				})(s)
			})
			var most, over int
			watch := make(chan struct{})
			go func() {
				defer close(watch)
				for b.engine.ctx.Err() == nil {
					b.locked(func(e *engine) {
						sum := 0
						for _, k := range e.cache.chunks {
							sum += cap(k.data)
						}
						if sum > e.cache.bytes {
							over = sum
						}
						most = max(most, e.cache.bytes)
					})
					time.Sleep(100 * time.Microsecond)
				}
			}()
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() { fetch(t, b, &Client{Windowsize: []int{1, 4, 64}[i%3]}, fmt.Sprint(i), files[i].data) })
			}
			all.Wait()
			b.stop()
			<-watch
			// Beside the limit: what is being read, and the two that are in hand.
			if most > limit+(maxReads+2)*chunkSize {
				t.Errorf("%d bytes in the cache, the limit is %d", most, limit)
			}
			if over > 0 {
				t.Errorf("%d bytes of chunks are more than was counted", over)
			}
		})
	}
}

// A nowDisk has some of its file at hand.
type nowDisk struct {
	*disk
	hit   func(off int64) bool
	asked atomic.Int64
	given atomic.Int64
}

func (d *nowDisk) ReadAtNow(p []byte, off int64) (int, error) {
	d.asked.Add(1)
	if !d.hit(off) {
		return 0, syscall.EAGAIN
	}
	d.given.Add(1)
	return bytes.NewReader(d.data).ReadAt(p, off)
}

// What is at hand is not waited for; the rest is read as ever.
func TestReadAtNow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hit  func(off int64) bool
		now  int64 // chunks
	}{
		{"all", func(int64) bool { return true }, 10},
		{"none", func(int64) bool { return false }, 0},
		{"some", func(off int64) bool { return off/chunkSize%3 != 0 }, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := &disk{data: pattern(9*chunkSize + 100)}
			src := &nowDisk{disk: file, hit: tt.hit}
			b := serve(t, nil, opens(func(*Request) (*Source, error) {
				s := file.source("f")
				s.ReaderAt = src
				return s, nil
			}))
			for _, window := range []int{1, 16} {
				fetch(t, b, &Client{Windowsize: window}, "f", file.data)
			}
			if asked, given, read := src.asked.Load(), src.given.Load(), file.reads.Load(); asked != 10 || given != tt.now || read != 10-tt.now {
				t.Errorf("%d chunks were asked for, %d at hand, %d read", asked, given, read)
			}
		})
	}
}

// A cold disk does not make the queue hold buffers.
func TestColdQueue(t *testing.T) {
	t.Parallel()
	const clients = 100
	slow := make(chan struct{})
	file := pattern(chunkSize)
	b := serveEngine(t, nil, func(s *Server) {
		s.Timing = noTimeouts
		opens(func(r *Request) (*Source, error) {
			d := &disk{data: file, fault: func(int64) error { <-slow; return nil }}
			src := d.source(nil)
			src.ReaderAt = &nowDisk{disk: d, hit: func(int64) bool { return false }}
			return src, nil
		})(s)
	})
	peers := make([]*rawPeer, clients)
	for i := range peers {
		peers[i] = b.newPeer(t)
		peers[i].send(rrq("f"))
	}
	eventually(t, "all wait", func() (all bool) {
		b.locked(func(e *engine) { all = len(e.cache.queue)+e.cache.reading == clients })
		return all
	})
	b.locked(func(e *engine) {
		if e.cache.bytes > maxReads*(chunkSize+chunkCost) {
			t.Errorf("%d bytes for %d reads", e.cache.bytes, maxReads)
		}
	})
	// Of half of them the clients go: what nobody waits for is not read.
	for _, w := range peers[:clients/2] {
		w.send(rrq("f", "tsize", "0")) // another request from the same port
	}
	close(slow)
	for _, w := range peers[clients/2:] {
		w.want(data(1, file[:512]))
	}
}

// A disk that hangs holds up only who reads from it.
func TestDiskHangs(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(*Server)) {
		release := make(chan struct{})
		hung := &disk{data: pattern(300_000), fault: func(off int64) error {
			if off >= chunkSize {
				<-release
			}
			return nil
		}}
		fine := &disk{data: pattern(500_000)}
		b := serve(t, nil, func(s *Server) {
			change(s)
			s.Timing = Timing{}
			opens(func(r *Request) (*Source, error) {
				if r.Name == "hung" {
					return hung.source("hung"), nil
				}
				return fine.source("fine"), nil
			})(s)
		})
		held := make(chan error, 6)
		for i := range cap(held) {
			go func() {
				var got bytes.Buffer
				_, err := (&Client{Windowsize: 1 + 15*(i%2)}).Get(context.Background(), b.addr, "hung", &got)
				if err == nil && !bytes.Equal(got.Bytes(), hung.data) {
					err = errors.New("the bytes differ")
				}
				held <- err
			}()
		}
		eventually(t, "the disk hangs", func() bool { return hung.reads.Load() > 0 && hung.open.Load() == 1 })
		for range 5 {
			fetch(t, b, &Client{}, "fine", fine.data)
		}
		select {
		case err := <-held:
			t.Errorf("came from a disk that hangs: %v", err)
		default:
		}
		close(release)
		for range cap(held) {
			if err := <-held; err != nil {
				t.Errorf("after the disk came back: %v", err)
			}
		}
	})
}
