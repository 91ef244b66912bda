package flash

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// wantUnbootable holds after every failure: not bootable, does not look used.
func wantUnbootable(t *testing.T, what string, dev Device) {
	t.Helper()
	head, tail, err := edges(dev)
	if c := contents(head, tail); c != "" || err != nil {
		t.Errorf("%s: the disk looks like %s, %v", what, c, err)
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
