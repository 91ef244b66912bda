package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// content is n bytes that look random and are always the same.
func content(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func file(name string, b []byte) File {
	sum := sha256.Sum256(b)
	return File{Name: name, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
}

func TestOrder(t *testing.T) {
	given := []string{"TFTP://a/", "http://a/", "ftp://a/", "tftp://b/"}
	for _, tt := range []struct {
		name string
		size int64
		want []string
	}{
		{"as large as TFTP may carry", 16, given},
		{"of unknown size", -1, given},
		{"larger", 17, []string{"http://a/", "ftp://a/", "TFTP://a/", "tftp://b/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := order(given, tt.size, 16); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	for scheme, newPeer := range peers {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			p := newPeer(t, dir)
			for _, n := range []int{0, 1, 1428, 300_000} {
				want := content(n, 1)
				name := fmt.Sprintf("a folder/%d#%%.bin", n)
				put(t, dir, name, want)
				for what, f := range map[string]File{"known": file(name, want), "unknown": {Name: name, Size: -1}} {
					t.Run(fmt.Sprintf("%d bytes, %s", n, what), func(t *testing.T) {
						var got bytes.Buffer
						pl, changes := puller(t, p.url)
						last := int64(-1)
						pl.Progress = func(proto string, done, total int64) {
							if proto != scheme || done <= last && n > 0 {
								t.Errorf("progress %s %d after %d", proto, done, last)
							}
							last = done
						}
						if err := pl.Fetch(guarded(t), f, &got); err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(got.Bytes(), want) {
							t.Errorf("got %d other bytes", got.Len())
						}
						if len(*changes) != 1 || (*changes)[0].Proto != scheme || (*changes)[0].To != int64(n) || (*changes)[0].Err != nil {
							t.Errorf("changes %+v", *changes)
						}
					})
				}
			}
		})
	}
}

// spoilt are the protocols whose wire can be spoilt.
func spoilt() []string {
	var s []string
	for scheme := range peers {
		if scheme != "ftps" && scheme != "https" {
			s = append(s, scheme)
		}
	}
	slices.Sort(s)
	return s
}

// Each protocol fails in mid-transfer in each way, and each finishes after it.
// Where silence is the fault, a server that the machine is too busy for is
// silent too: more attempts may follow, each from where the last one ended.
func TestHandOver(t *testing.T) {
	const n, after = 400_000, 150_000
	want := content(n, 2)
	for _, first := range spoilt() {
		for _, f := range []fault{cut, reset, stall} {
			if first == "tftp" && f != stall {
				continue // datagrams can only get lost
			}
			for _, second := range spoilt() {
				t.Run(fmt.Sprintf("%s-%s-%s", first, f, second), func(t *testing.T) {
					t.Parallel()
					dir := tree(t)
					put(t, dir, "image", want)
					a := peers[first](t, dir)
					b := a
					if second != first {
						b = peers[second](t, dir)
					}
					a.link.spoil(f, after, 1)
					var got bytes.Buffer
					p, changes := puller(t, a.url, b.url)
					if f == stall {
						p.Timing, p.TFTP = hasty, hastyTFTP
					}
					if err := p.Fetch(guarded(t), file("image", want), &got); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got.Bytes(), want) {
						t.Error("got other bytes")
					}
					c := *changes
					if len(c) < 2 || len(c) > 2 && f != stall {
						t.Fatalf("changes %+v", c)
					}
					if c[0].Proto != first || c[0].From != 0 || c[0].To == 0 && f != stall || c[0].To >= n || c[0].Err == nil {
						t.Errorf("first %+v", c[0])
					}
					if c[1].Proto != second {
						t.Errorf("second %+v", c[1])
					}
					for i := range c[1:] {
						if c[i+1].From != c[i].To {
							t.Errorf("attempt %d begins at %d, the one before ended at %d", i+2, c[i+1].From, c[i].To)
						}
					}
					last := c[len(c)-1]
					if last.To != n || last.Err != nil {
						t.Errorf("last %+v", last)
					}
					drop := int64(0)
					if last.Proto == "tftp" {
						drop = last.From
					}
					if last.Dropped != drop {
						t.Errorf("%s sent %d bytes again, want %d", last.Proto, last.Dropped, drop)
					}
				})
			}
		}
	}
}

// With everything blocked it waits, and goes on when the network is back.
func TestAllDown(t *testing.T) {
	t.Parallel()
	want := content(600_000, 3)
	dir := tree(t)
	put(t, dir, "image", want)
	var sources []string
	var links []*link
	for _, scheme := range spoilt() {
		p := peers[scheme](t, dir)
		sources, links = append(sources, p.url), append(links, p.link)
		p.link.spoil(cut, 100_000, 1)
	}
	p, changes := puller(t, sources...)
	p.Timing, p.TFTP = hasty, hastyTFTP
	var got bytes.Buffer
	down := func(d bool) {
		for _, l := range links {
			l.set(d)
		}
	}
	once := false
	p.Progress = func(_ string, done, _ int64) {
		if done > 120_000 && !once {
			once = true
			down(true)
		}
	}
	p.Notify = func(c Attempt) {
		if *changes = append(*changes, c); len(*changes) >= 6 {
			down(false)
		}
	}
	if err := p.Fetch(guarded(t), file("image", want), &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("got other bytes")
	}
	at := int64(0)
	for _, c := range *changes {
		if c.From != at {
			t.Errorf("from %d, want %d: %+v", c.From, at, c)
		}
		at = c.To
	}
	if len(*changes) < 6 {
		t.Errorf("only %d attempts through a long outage", len(*changes))
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, scheme := range spoilt() {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", content(300_000, 4))
			peer := peers[scheme](t, dir)
			peer.link.spoil(stall, 100_000, -1)
			p, _ := puller(t, peer.url)
			p.Timing.Stall = time.Hour // nothing else ends it
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			peer.link.onHit(cancel)
			err := p.Fetch(ctx, File{Name: "image", Size: 300_000}, io.Discard)
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// Another file under the same name is noticed before its bytes are mixed in.
func TestChanged(t *testing.T) {
	t.Parallel()
	before, after := content(300_000, 5), content(300_000, 6)
	for _, scheme := range spoilt() {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", before)
			touch(t, dir, "image", time.Now().Add(-time.Hour))
			peer := peers[scheme](t, dir)
			peer.link.spoil(cut, 100_000, 1)
			p, _ := puller(t, peer.url)
			p.TFTP = hastyTFTP
			p.Notify = func(c Attempt) {
				if c.To > 0 {
					put(t, dir, "image", after)
				}
			}
			var got bytes.Buffer
			err := p.Fetch(guarded(t), File{Name: "image", Size: -1}, &got)
			if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "image") {
				t.Errorf("error %v, want ErrChanged", err)
			}
			if !bytes.HasPrefix(before, got.Bytes()) {
				t.Error("bytes of both files were delivered")
			}
		})
	}
}

func TestCorrupt(t *testing.T) {
	want := content(300_000, 7)
	for _, scheme := range spoilt() {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", want)
			peer := peers[scheme](t, dir)
			peer.link.flip = 200_000
			p, changes := puller(t, peer.url, "http://127.0.0.1:1/")
			err := p.Fetch(guarded(t), file("image", want), io.Discard)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "SHA-256") {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			if len(*changes) != 1 || !errors.Is((*changes)[0].Err, ErrCorrupt) {
				t.Errorf("changes %+v", *changes)
			}
		})
	}
}

func TestWrongSize(t *testing.T) {
	have := content(30_000, 8)
	for scheme, newPeer := range peers {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", have)
			peer := newPeer(t, dir)
			for _, size := range []int64{10_000, 29_999, 30_001} {
				t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
					var got bytes.Buffer
					p, changes := puller(t, peer.url, peer.url)
					err := p.Fetch(guarded(t), File{Name: "image", Size: size}, &got)
					if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprint(size)) {
						t.Errorf("error %v, want ErrCorrupt", err)
					}
					if !strings.Contains(err.Error(), "30000") {
						t.Errorf("error %v does not name the server's size", err)
					}
					if got.Len() > 0 {
						t.Errorf("%d bytes were delivered", got.Len())
					}
					if len(*changes) != 1 {
						t.Errorf("%d attempts", len(*changes))
					}
				})
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	for scheme, newPeer := range peers {
		t.Run(scheme, func(t *testing.T) {
			peer := newPeer(t, tree(t))
			p, changes := puller(t, peer.url, "http://127.0.0.1:1/")
			err := p.Fetch(guarded(t), File{Name: "no/such.raw.zst", Size: 5}, io.Discard)
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no/such.raw.zst") || !strings.Contains(err.Error(), scheme) {
				t.Errorf("error %v, want fs.ErrNotExist", err)
			}
			if len(*changes) != 1 {
				t.Errorf("%d attempts", len(*changes))
			}
		})
	}
}

type failing struct {
	left  int
	calls int
}

var errDisk = fmt.Errorf("disk full: %w", fs.ErrNotExist) // whatever it wraps is no word of the server

func (f *failing) Write(p []byte) (int, error) {
	f.calls++
	if f.left -= len(p); f.left < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	for scheme, newPeer := range peers {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", content(3_000_000, 9))
			peer := newPeer(t, dir)
			p, changes := puller(t, peer.url, peer.url)
			w := &failing{left: 200_000}
			err := p.Fetch(guarded(t), File{Name: "image", Size: 3_000_000}, w)
			if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "write") {
				t.Errorf("error %v, want that of the writer", err)
			}
			if len(*changes) != 1 {
				t.Errorf("%d attempts", len(*changes))
			}
		})
	}
}
