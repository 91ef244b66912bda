package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

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

// from is a producer that has the stored image in memory.
func from(stored []byte) Producer {
	return func(ctx context.Context, j *Job) error {
		d, err := images.Decompress(bytes.NewReader(stored))
		if err != nil {
			return err
		}
		defer d.Close()
		return images.Cut(ctx, d, j.WriteBlock)
	}
}

// blank is an ordinary file as a disk.
func blank(t testing.TB, size int64) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, path
}

func contentsOf(t testing.TB, dev Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	if _, err := dev.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// counted counts what reaches the disk.
type counted struct {
	Device
	mu     sync.Mutex
	writes int
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	return c.Device.WriteAt(p, off)
}

func TestWrite(t *testing.T) {
	for n, tt := range []struct{ image, disk int64 }{
		{5*mib + 12345, 8 * mib},
		{5*mib + 512, 5*mib + 512}, // fills the disk: its end is written late
		{6 * mib, 6*mib + 512},
		{1000, 3 * mib},
		{2 * mib, 2 * mib},
		{700 * 1024, 800 * 1024}, // both edges are the whole disk
	} {
		raw := rawImage(1, int(tt.image))
		for format := range compressors {
			if format != "zstd" && n > 0 {
				continue // one size of each will do
			}
			t.Run(fmt.Sprintf("%q %d on %d", format, tt.image, tt.disk), func(t *testing.T) {
				stored, m := store(t, format, raw)
				dev, _ := blank(t, tt.disk)
				stages := map[string]int64{}
				res, err := Write(t.Context(), dev, m, from(stored), Options{Progress: func(stage string, done, total int64) {
					if done < stages[stage] || total != tt.image {
						t.Errorf("%s: progress %d after %d of %d", stage, done, stages[stage], total)
					}
					stages[stage] = done
				}})
				if err != nil {
					t.Fatalf("%v", err)
				}
				got := contentsOf(t, dev)
				if !bytes.Equal(got[:tt.image], raw) || !images.IsZero(got[tt.image:]) {
					t.Errorf("the disk holds other bytes")
				}
				if res.Verified != tt.image || res.Written+res.Skipped != tt.image {
					t.Errorf("%+v", res)
				}
				if stages[StageWrite] != tt.image || stages[StageVerify] != tt.image {
					t.Errorf("progress %v", stages)
				}

				// Again: verified, not a byte written, not a byte fetched.
				c := &counted{Device: dev}
				res, err = Write(t.Context(), c, m, func(context.Context, *Job) error {
					t.Error("an image that the disk holds was fetched")
					return nil
				}, Options{Overwrite: true})
				if err != nil || res.Verified != tt.image || res.Written != 0 || c.writes != 0 {
					t.Errorf("again: %+v, %d writes, %v", res, c.writes, err)
				}
			})
		}
	}
}

// Holes must read as zeros also where the disk had something.
func TestWriteHoles(t *testing.T) {
	raw := rawImage(1, 5*mib)
	stored, m := store(t, "zstd", raw)
	dev, _ := blank(t, 6*mib)
	junk := bytes.Repeat([]byte("junk"), mib)
	if _, err := dev.WriteAt(junk[:2*mib], mib/2); err != nil {
		t.Fatal(err)
	}
	res, err := Write(t.Context(), dev, m, from(stored), Options{Overwrite: true})
	if err != nil || !bytes.Equal(contentsOf(t, dev)[:len(raw)], raw) {
		t.Errorf("%+v, %v", res, err)
	}
	if res.Written != 4*mib || res.Skipped != mib {
		t.Errorf("one hole had junk, one not: %+v", res)
	}
}

func TestWriteRefusesLarger(t *testing.T) {
	stored, m := store(t, "zstd", rawImage(1, 3*mib))
	dev, _ := blank(t, 3*mib-1)
	c := &counted{Device: dev}
	_, err := Write(t.Context(), c, m, from(stored), Options{Overwrite: true})
	if err == nil || !strings.Contains(err.Error(), "the image has 3 MiB, the disk only") || c.writes != 0 {
		t.Errorf("%v, %d writes", err, c.writes)
	}
}

func TestWriteRefusesUsed(t *testing.T) {
	stored, m := store(t, "zstd", rawImage(1, 3*mib))
	put := func(at int64, s string) func([]byte) {
		return func(b []byte) {
			if at < 0 {
				at += int64(len(b))
			}
			copy(b[at:], s)
		}
	}
	for _, tt := range []struct {
		name string
		mark func([]byte)
		what string
	}{
		{"gpt", put(510, "\x55\xaaEFI PART"), "a GPT partition table"},
		{"gpt 4K", put(4096, "EFI PART"), "a GPT partition table"},
		{"gpt backup", put(-512, "EFI PART"), "the backup of a GPT"},
		{"mbr", put(510, "\x55\xaa"), "an MBR partition table"},
		{"fat32", put(82, "FAT32   "), "a FAT file system"},
		{"ext4", put(1080, "\x53\xef"), "ext4"},
		{"lvm", put(512, "LABELONE"), "an LVM"},
		{"luks", put(0, "LUKS\xba\xbe"), "a LUKS"},
		{"raid at the end", put(-65536, "\xfc\x4e\x2b\xa9"), "a RAID member"},
		{"one byte in the first MiB", put(mib-1, "x"), "data in its first MiB"},
		{"one byte in the last MiB", put(-mib, "x"), "data in its last MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev, _ := blank(t, 5*mib)
			b := make([]byte, 5*mib)
			tt.mark(b)
			if _, err := dev.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			c := &counted{Device: dev}
			_, err := Write(t.Context(), c, m, from(stored), Options{})
			if !errors.Is(err, ErrDiskInUse) || !strings.Contains(err.Error(), tt.what) || c.writes != 0 {
				t.Errorf("%v, %d writes; want %q", err, c.writes, tt.what)
			}
			if res, err := Write(t.Context(), dev, m, from(stored), Options{Overwrite: true}); err != nil || res.Verified != m.Raw.Size {
				t.Errorf("overwrite: %+v, %v", res, err)
			}
			if got := contentsOf(t, dev); !images.IsZero(got[4*mib:]) {
				t.Error("the last MiB was not cleared")
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	raw := rawImage(1, 64*mib)
	for _, format := range []string{"", "zstd", "gzip"} {
		stored, m := store(b, format, raw)
		b.Run("format="+format, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				dev, _ := blank(b, int64(len(raw)))
				if _, err := Write(b.Context(), dev, m, from(stored), Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
