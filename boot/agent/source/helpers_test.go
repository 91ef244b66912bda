package source

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/images"
)

const mib = 1 << 20

// compressors has one entry a stored format; "" is a raw image.
var compressors = map[string]func(io.Writer) (io.WriteCloser, error){
	"":     func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil },
	"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"xz": func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{DictCap: 64 << 10}.NewWriter(w)
	},
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// rawImage makes n bytes that look like a bootable disk. It has a boot sector, a
// GPT at both ends, data, and two holes where there is room.
func rawImage(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	pattern := make([]byte, 64<<10)
	for i := 0; i < len(pattern); i += 16 {
		pattern[i] = byte(rng.IntN(255)) + 1
	}
	raw := make([]byte, n)
	for i := 0; i < n; i += copy(raw[i:], pattern) {
		pattern[1]++ // no two blocks are the same
	}
	if n > 4*mib {
		clear(raw[mib : 2*mib])
		clear(raw[3*mib : 4*mib])
	}
	copy(raw[510:], "\x55\xaaEFI PART")
	copy(raw[n-512:], "EFI PART")
	return raw
}

// store compresses a raw image and makes its manifest.
func store(t testing.TB, format string, raw []byte) (stored []byte, m *images.Manifest) {
	t.Helper()
	var b bytes.Buffer
	w, err := compressors[format](&b)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		m, err = images.Make(context.Background(), bytes.NewReader(b.Bytes()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

// from is one that has the stored image in memory.
func from(stored []byte) Fetch {
	return func(_ context.Context, w io.Writer) error {
		_, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(stored)})
		return err
	}
}

// blank is an ordinary file as a disk.
func blank(t testing.TB, size int64) (*flash.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := flash.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, path
}

func contentsOf(t testing.TB, dev flash.Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	if _, err := dev.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// wantUnbootable holds after every failure: the disk's first and last MiB are
// zero.
func wantUnbootable(t *testing.T, what string, dev flash.Device) {
	t.Helper()
	if all := contentsOf(t, dev); !images.IsZero(all[:mib]) || !images.IsZero(all[len(all)-mib:]) {
		t.Errorf("%s: the disk may boot", what)
	}
}

// counted counts what reaches the disk.
type counted struct {
	flash.Device
	mu     sync.Mutex
	writes int
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	return c.Device.WriteAt(p, off)
}
