package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/images"
)

var errPower = errors.New("power is gone")

// powered is a disk with a write cache that loses power after so many writes and
// syncs. What was not synced is there by the sector, or not.
type powered struct {
	mu      sync.Mutex
	left    int // operations until the power goes
	cache   []byte
	medium  []byte
	pending []span
}

// newPowered makes a disk of so many bytes. Its memory is not Go's, so that the
// race detector does not follow each of its bytes. That took most of the time.
func newPowered(t *testing.T, size int) *powered {
	t.Helper()
	both, err := unix.Mmap(-1, 0, 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(both) })
	return &powered{cache: both[:size], medium: both[size:]}
}

// reset makes it a disk that holds this and loses power after so many operations.
func (p *powered) reset(medium []byte, left int) {
	p.left, p.pending = left, nil
	copy(p.cache, medium)
	copy(p.medium, medium)
}

func (p *powered) Size() int64 { return int64(len(p.medium)) }

func (p *powered) ReadAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < 0 {
		return 0, errPower
	}
	return copy(b, p.cache[off:]), nil
}

func (p *powered) WriteAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left < -1 {
		return 0, errPower
	}
	// The write during which the power goes is as good as any other in the cache.
	p.pending = append(p.pending, span{off, int64(copy(p.cache[off:], b))})
	if p.left < 0 {
		return 0, errPower
	}
	return len(b), nil
}

func (p *powered) Sync() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left < 0 {
		return errPower
	}
	for _, s := range p.pending {
		copy(p.medium[s.off:s.off+s.n], p.cache[s.off:])
	}
	p.pending = nil
	return nil
}

// outage returns what the medium holds after the power went.
func (p *powered) outage(rng *rand.Rand) []byte {
	for _, s := range p.pending {
		part := rng.IntN(3) // nothing of it, all, or some sectors
		for at := s.off; at < s.off+s.n; at += sector {
			if end := min(at+sector, s.off+s.n); part == 1 || part == 2 && rng.IntN(2) == 0 {
				copy(p.medium[at:end], p.cache[at:end])
			}
		}
	}
	return p.medium
}

// The power goes at every write and sync of a job. The disk never boots anything
// but what stood there whole, or the image whole. The same job finishes
// afterwards, without being told that it may overwrite.
func TestPowerCut(t *testing.T) {
	for _, tt := range []struct {
		name        string
		image, disk int
		used        bool
	}{
		{"blank", 2*mib + 700, 4 * mib, false},
		{"blank, image fills it", 3*mib + 512, 3*mib + 512, false},
		{"used", 2 * mib, 3*mib + 512, true},
		{"used, image fills it", 3 * mib, 3 * mib, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := rawImage(1, tt.image)
			stored, m := store(t, "", raw)
			before := make([]byte, tt.disk)
			if tt.used {
				before = rawImage(9, tt.disk)
			}
			finished, dev, again := false, newPowered(t, tt.disk), newPowered(t, tt.disk)
			for cut := 0; !finished; cut++ {
				if cut > 100 {
					t.Fatalf("no end after %d operations", cut)
				}
				seeds := uint64(1)
				if tt.image == tt.disk {
					seeds = 2 // more can be torn
				}
				for seed := range seeds {
					what := fmt.Sprintf("cut %d, seed %d", cut, seed)
					dev.reset(before, cut)
					_, err := Write(t.Context(), dev, m, from(stored), Options{Overwrite: tt.used})
					if finished = err == nil; !finished && !errors.Is(err, errPower) {
						t.Fatalf("%s: %v", what, err)
					}
					left := dev.outage(rand.New(rand.NewPCG(seed, uint64(cut))))
					switch boots, whole := !images.IsZero(left[:sector]), bytes.Equal(left[:tt.image], raw); {
					case finished && !whole:
						t.Errorf("%s: done was said of a disk that is not whole", what)
					case boots && !whole && !bytes.Equal(left[mib:tt.disk-mib], before[mib:tt.disk-mib]):
						t.Errorf("%s: a half-written disk boots", what)
					}
					// Until its edges are cleared a used disk needs the word again.
					again.reset(left, 1000)
					_, err = Write(t.Context(), again, m, from(stored), Options{})
					if tt.used && errors.Is(err, ErrDiskInUse) {
						if cut > 4 { // two writes and a sync clear it
							t.Errorf("%s: %v", what, err)
						}
						_, err = Write(t.Context(), again, m, from(stored), Options{Overwrite: true})
					}
					if err != nil || !bytes.Equal(again.medium[:tt.image], raw) {
						t.Errorf("%s: again: %v", what, err)
					}
				}
			}
		})
	}
}

// faulty is a disk with one fault.
type faulty struct {
	Device
	at   int64  // byte that the fault is at
	kind string // of the fault
}

func (f *faulty) hits(p []byte, off int64) bool { return off <= f.at && f.at < off+int64(len(p)) }

func (f *faulty) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Device.ReadAt(p, off)
	if f.hits(p, off) && p[f.at-off] != 0 {
		switch f.kind {
		case "lies":
			p[f.at-off] ^= 1
		case "cannot read":
			return 0, errors.New("input/output error")
		}
	}
	return n, err
}

func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.hits(p, off) && !images.IsZero(p) {
		switch f.kind {
		case "cannot write":
			return 0, errors.New("input/output error")
		case "loses":
			return len(p), nil
		case "flips":
			p = bytes.Clone(p)
			p[f.at-off] ^= 1
		}
	}
	return f.Device.WriteAt(p, off)
}

// A disk that loses, changes or misreads a byte anywhere is never done, and
// does not boot.
func TestFaultyDisk(t *testing.T) {
	raw := rawImage(1, 6*mib)
	stored, m := store(t, "zstd", raw)
	for _, kind := range []string{"lies", "cannot read", "cannot write", "loses", "flips"} {
		for _, i := range []int{0, 2, 5} {
			at := int64(i)*mib + 1600 // a multiple of 16 is never zero outside holes
			for _, disk := range []int64{6 * mib, 8 * mib} {
				if i == 2 && disk == 6*mib {
					continue
				}
				t.Run(fmt.Sprintf("%s at %d of %d", kind, at, disk), func(t *testing.T) {
					dev, _ := blank(t, disk)
					_, err := Write(t.Context(), &faulty{dev, at, kind}, m, from(stored), Options{})
					if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("block %d at offset", i)) && kind != "cannot read" {
						t.Error(err)
					}
					if got := contentsOf(t, dev); !images.IsZero(got[:sector]) {
						t.Error("the disk boots")
					}
				})
			}
		}
	}
}

// unsynced is a disk whose sync fails from some time on.
type unsynced struct {
	Device
	left int
}

func (u *unsynced) Sync() error {
	if u.left--; u.left < 0 {
		return errors.New("input/output error")
	}
	return u.Device.Sync()
}

func TestSyncFails(t *testing.T) {
	raw := rawImage(1, 3*mib)
	stored, m := store(t, "zstd", raw)
	for n := range 20 {
		dev, _ := blank(t, 3*mib)
		_, err := Write(context.Background(), &unsynced{dev, n}, m, from(stored), Options{})
		if err == nil {
			if n < 4 {
				t.Errorf("done after %d syncs", n)
			}
			return
		}
		if got := contentsOf(t, dev); !images.IsZero(got[:sector]) {
			t.Errorf("sync %d fails: the disk boots", n)
		}
	}
	t.Error("20 syncs were not enough")
}
