package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/images"
)

// wantUnbootable holds after every failure: not bootable, does not look used.
func wantUnbootable(t *testing.T, what string, dev Device) {
	t.Helper()
	if c, err := Contents(dev); c != "" || err != nil {
		t.Errorf("%s: the disk looks like %s, %v", what, c, err)
	}
}

func TestWriteBadStream(t *testing.T) {
	raw := rawImage(1, 2*mib+100)
	boom := errors.New("connection reset")
	for format := range compressors {
		stored, m := store(t, format, raw)
		other, _ := store(t, format, rawImage(2, len(raw)))
		flip := func(at int) []byte {
			b := bytes.Clone(stored)
			b[at] ^= 0x10
			return b
		}
		for _, tt := range []struct {
			name string
			from func(context.Context, io.Writer) error
			want error  // wrapped, or
			text string // said
		}{
			{"empty", from(nil), io.ErrUnexpectedEOF, "truncated: 0 of"},
			{"truncated", from(stored[:len(stored)/2]), io.ErrUnexpectedEOF, "truncated"},
			{"one byte missing", from(stored[:len(stored)-1]), io.ErrUnexpectedEOF, "truncated"},
			{"one byte more", from(append(bytes.Clone(stored), 'x')), nil, ""},
			{"flipped early", from(flip(len(stored) / 5)), nil, ""},
			{"flipped in the middle", from(flip(len(stored) / 2)), nil, ""},
			{"flipped at the end", from(flip(len(stored) - 1)), nil, ""},
			{"another image", from(other), nil, "block 0 at offset 0"},
			{"connection lost", func(ctx context.Context, w io.Writer) error {
				from(stored[:len(stored)/2])(ctx, w)
				return boom
			}, boom, "fetch image: connection reset"},
			{"lost at the very end", func(ctx context.Context, w io.Writer) error {
				from(stored)(ctx, w)
				return boom
			}, boom, "fetch image: connection reset"},
		} {
			dev, _ := blank(t, 4*mib)
			_, err := Write(t.Context(), dev, m, tt.from, Options{})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q %s: %v, want %v %q", format, tt.name, err, tt.want, tt.text)
			}
			wantUnbootable(t, format+" "+tt.name, dev)
			if format != "zstd" {
				continue
			}
			if _, err := Write(t.Context(), dev, m, from(stored), Options{}); err != nil {
				t.Errorf("%q %s: then the right one: %v", format, tt.name, err)
			}
		}
	}
}

// A raw image has no checksums of its own: the block is named.
func TestWriteNamesBlock(t *testing.T) {
	raw := rawImage(1, 4*mib)
	_, m := store(t, "", raw)
	raw[2*mib+5] ^= 1
	dev, _ := blank(t, 6*mib)
	_, err := Write(t.Context(), dev, m, from(raw), Options{})
	if err == nil || !strings.Contains(err.Error(), "block 2 at offset 2097152: sha256 is") {
		t.Error(err)
	}
	if got := contentsOf(t, dev); !images.IsZero(got[2*mib:]) {
		t.Error("a wrong block was written")
	}
}

func TestWriteCancel(t *testing.T) {
	stored, m := store(t, "", rawImage(1, 8*mib))
	before := runtime.NumGoroutine()
	for _, stage := range []string{StageWrite, StageVerify} {
		dev, _ := blank(t, 9*mib)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Write(ctx, dev, m, from(stored), Options{Progress: func(s string, done, _ int64) {
			if s == stage && done >= 3*mib {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in %s: %v", stage, err)
		}
		wantUnbootable(t, "cancelled in "+stage, dev)
		if _, err := Write(t.Context(), dev, m, from(stored), Options{}); err != nil {
			t.Errorf("cancelled in %s, again: %v", stage, err)
		}
	}

	// A producer that waits for a server that never speaks.
	dev, _ := blank(t, 9*mib)
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan struct{})
	go func() { <-waits; cancel() }()
	_, err := Write(ctx, dev, m, func(ctx context.Context, w io.Writer) error {
		w.Write(stored[:mib/2])
		close(waits)
		<-ctx.Done()
		return ctx.Err()
	}, Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	cancel()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// Blocks come from several producers at once, in any order, some twice.
func TestJobAnyOrder(t *testing.T) {
	raw := rawImage(1, 7*mib+300)
	_, m := store(t, "zstd", raw)
	dev, _ := blank(t, int64(len(raw)))
	j, err := Begin(t.Context(), dev, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Finish(t.Context()); err == nil || !strings.Contains(err.Error(), "8 of 8 blocks are missing") {
		t.Errorf("finished without a block: %v", err)
	}
	var wg sync.WaitGroup
	for p := range uint64(3) {
		wg.Go(func() {
			for _, i := range rand.New(rand.NewPCG(p, p)).Perm(len(m.Blocks)) {
				b := m.Blocks[i]
				bad := bytes.Clone(raw[b.Offset : b.Offset+b.Length])
				bad[7] ^= 1
				if err := j.WriteBlock(i, bad); err == nil {
					t.Errorf("block %d was taken with a flipped bit", i)
				}
				if err := j.WriteBlock(i, raw[b.Offset:b.Offset+b.Length]); err != nil {
					t.Errorf("block %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	for _, i := range []int{-1, len(m.Blocks)} {
		if err := j.WriteBlock(i, nil); err == nil {
			t.Errorf("block %d was taken", i)
		}
	}
	wantUnbootable(t, "before Finish", dev)
	if res, err := j.Finish(t.Context()); err != nil || !bytes.Equal(contentsOf(t, dev), raw) || res.Verified != int64(len(raw)) {
		t.Errorf("%+v, %v", res, err)
	}
}

// A producer that fails is followed by another, which need not write again.
func TestStreamAgain(t *testing.T) {
	raw := rawImage(1, 6*mib)
	stored, m := store(t, "", raw)
	dev, _ := blank(t, 8*mib)
	c := &counted{Device: dev}
	j, err := Begin(t.Context(), c, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Stream(t.Context(), from(stored[:3*mib])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	half := c.writes
	if err := j.Stream(t.Context(), from(stored)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Finish(t.Context()); err != nil || !bytes.Equal(contentsOf(t, dev)[:len(raw)], raw) {
		t.Error(err)
	}
	// Blocks 2, 4, 5 and the two parts of block 0; 1 and 3 are holes.
	if half != 1 || c.writes != 5 {
		t.Errorf("%d writes at first, %d in all; want 1 and 5", half, c.writes)
	}
}

// An image whose window does not fit the machine's memory ends in an error,
// where the machine would have ended.
func TestWriteWithinMemory(t *testing.T) {
	stored, m := store(t, "zstd", rawImage(1, 3*mib))
	dev, _ := blank(t, 8*mib)
	_, err := Write(t.Context(), dev, m, from(stored), Options{Memory: 1 << 20})
	if err == nil || !strings.Contains(err.Error(), "memory that this machine has left") {
		t.Errorf("error %v", err)
	}
	wantUnbootable(t, "no memory", dev)
}
