package tftp

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
)

// Every way to agree on blocks and windows, and every shape of a file's end.
func TestGet(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 511, 512, 513, 1428, 2856, 64*1428 - 1, 64 * 1428, 64*1428 + 1, 1 << 20}
	files := map[string][]byte{}
	for _, n := range sizes {
		files[fmt.Sprint(n)] = pattern(n)
	}
	for _, single := range []bool{false, true} {
		b := serve(t, files, func(s *Server) { s.SinglePort = single })
		for _, c := range []*Client{{}, {Windowsize: 1}, {Windowsize: 3}, {Blksize: 512, Windowsize: 1}, {Blksize: 65464}, {Blksize: 8, Windowsize: 16}} {
			for _, n := range sizes {
				if c.Blksize == 8 && n > 100_000 {
					continue
				}
				t.Run(fmt.Sprintf("single=%v/%d/%d/%d", single, c.Blksize, c.Windowsize, n), func(t *testing.T) {
					var got bytes.Buffer
					tr, err := c.Get(context.Background(), b.addr, fmt.Sprint(n), &got)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got.Bytes(), files[fmt.Sprint(n)]) {
						t.Fatalf("%d bytes that differ", got.Len())
					}
					if tr.Bytes != int64(n) || tr.Size != int64(n) {
						t.Errorf("transfer %+v", tr)
					}
				})
			}
		}
	}
}

// A bench of devices is switched on at once, behind one address.
func TestStorm(t *testing.T) {
	t.Parallel()
	const devices = 500
	file := pattern(20_000)
	b := serve(t, map[string][]byte{"f": file}, nil)
	var all sync.WaitGroup
	for range devices {
		all.Go(func() {
			var got bytes.Buffer
			if tr, err := (&Client{}).Get(t.Context(), b.addr, "f", &got); err != nil || !bytes.Equal(got.Bytes(), file) {
				t.Errorf("%+v, %v", tr, err)
			}
		})
	}
	all.Wait()
	b.result(t, devices-1)
}
