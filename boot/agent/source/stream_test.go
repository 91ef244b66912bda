package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/images"
)

func TestWriteBadStream(t *testing.T) {
	raw := rawImage(1, mib+100)
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
			from Fetch
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
			t.Run(format+" "+tt.name, func(t *testing.T) {
				t.Run(format+" "+tt.name, func(t *testing.T) {
					dev, _ := blank(t, 3*mib)
					_, err := flash.Write(t.Context(), dev, m, Stream(tt.from, 0), flash.Options{})
					if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
						t.Errorf("%v, want %v %q", err, tt.want, tt.text)
					}
					wantUnbootable(t, "then", dev)
					if format != "zstd" {
						return
					}
					if _, err := flash.Write(t.Context(), dev, m, Stream(from(stored), 0), flash.Options{}); err != nil {
						t.Errorf("then the right one: %v", err)
					}
				})
			})
		}
	}
}

// A raw image has no checksums of its own: the block is named.
func TestWriteNamesBlock(t *testing.T) {
	raw := rawImage(1, 4*mib)
	_, m := store(t, "", raw)
	raw[2*mib+5] ^= 1
	dev, _ := blank(t, 6*mib)
	_, err := flash.Write(t.Context(), dev, m, Stream(from(raw), 0), flash.Options{})
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
	for _, stage := range []string{flash.StageWrite, flash.StageVerify} {
		t.Run("cancelled in "+stage, func(t *testing.T) {
			dev, _ := blank(t, 9*mib)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := flash.Write(ctx, dev, m, Stream(from(stored), 0), flash.Options{Progress: func(s string, done, _ int64) {
				if s == stage && done >= 3*mib {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled in %s: %v", stage, err)
			}
			wantUnbootable(t, "cancelled in "+stage, dev)
			if _, err := flash.Write(t.Context(), dev, m, Stream(from(stored), 0), flash.Options{}); err != nil {
				t.Errorf("cancelled in %s, again: %v", stage, err)
			}
		})
	}

	// A producer that waits for a server that never speaks.
	dev, _ := blank(t, 9*mib)
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan struct{})
	go func() { <-waits; cancel() }()
	_, err := flash.Write(ctx, dev, m, Stream(func(ctx context.Context, w io.Writer) error {
		w.Write(stored[:mib/2])
		close(waits)
		<-ctx.Done()
		return ctx.Err()
	}, 0), flash.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	cancel()
	for end := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// A producer that fails is followed by another, which need not write again.
func TestStreamAgain(t *testing.T) {
	raw := rawImage(1, 6*mib)
	stored, m := store(t, "", raw)
	dev, _ := blank(t, 8*mib)
	c := &counted{Device: dev}
	j, err := flash.Begin(t.Context(), c, m, flash.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Stream(from(stored[:3*mib]), 0)(t.Context(), j); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	half := c.writes
	if err := Stream(from(stored), 0)(t.Context(), j); err != nil {
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

// An image whose window does not fit the machine's memory ends in an error. The
// machine does not end.
func TestWriteWithinMemory(t *testing.T) {
	stored, m := store(t, "zstd", rawImage(1, 3*mib))
	dev, _ := blank(t, 8*mib)
	_, err := flash.Write(t.Context(), dev, m, Stream(from(stored), 1<<20), flash.Options{})
	if err == nil || !strings.Contains(err.Error(), "memory that this machine has left") {
		t.Errorf("error %v", err)
	}
	wantUnbootable(t, "no memory", dev)
}
