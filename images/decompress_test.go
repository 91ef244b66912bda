package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// compressors has one entry for each format that is read. "" is a raw image.
var compressors = map[string]func(testing.TB, []byte) []byte{
	"": func(_ testing.TB, raw []byte) []byte { return raw },
	"zstd": func(t testing.TB, raw []byte) []byte {
		return compress(t, raw, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	},
	"gzip": func(t testing.TB, raw []byte) []byte {
		return compress(t, raw, func(w io.Writer) (io.WriteCloser, error) {
			z := gzip.NewWriter(w)
			z.Name, z.Comment, z.Extra = "image.raw", "a comment", []byte("extra")
			return z, nil
		})
	},
	"xz": func(t testing.TB, raw []byte) []byte {
		return compress(t, raw, func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{DictCap: 64 << 10, BlockSize: 64 << 10}.NewWriter(w)
		})
	},
}

func compress(t testing.TB, raw []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// image makes n raw bytes that compress a little, with a hole if there is room.
// Pages differ in one word alone: much else would take long under the race
// detector.
func image(seed uint64, n int) []byte {
	const page = 4096
	rng := rand.New(rand.NewPCG(seed, 0))
	raw := make([]byte, n)
	for i := 0; i < n; i += 8 {
		if i >= page && i%page == 8 {
			i += copy(raw[i:], raw[8:page]) - 8
			continue
		}
		copy(raw[i:], string("abcdefgh"[rng.IntN(8)])+string(rune('a'+rng.IntN(26))))
	}
	if n > 3*BlockSize {
		clear(raw[BlockSize : 2*BlockSize])
	}
	return raw
}

func readAll(r io.Reader) ([]byte, error) {
	d, err := Decompress(r)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

func TestDecompress(t *testing.T) {
	raw := image(1, 300_000)
	for name, comp := range compressors {
		t.Run("format="+name, func(t *testing.T) {
			stored := comp(t, raw)
			for _, r := range []io.Reader{
				bytes.NewReader(stored),
				iotest.DataErrReader(bytes.NewReader(stored)),
				iotest.HalfReader(bytes.NewReader(stored)),
			} {
				got, err := readAll(r)
				if err != nil || !bytes.Equal(got, raw) {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(raw))
				}
			}
		})
	}
}

func TestDecompressFrames(t *testing.T) {
	a, b := image(1, 100_000), image(2, 1000)
	for name, comp := range compressors {
		got, err := readAll(bytes.NewReader(append(comp(t, a), comp(t, b)...)))
		if err != nil || !bytes.Equal(got, append(bytes.Clone(a), b...)) {
			t.Errorf("%q: two frames: %d bytes, %v", name, len(got), err)
		}
	}
	skip := "\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
	z := string(compressors["zstd"](t, a))
	if got, err := readAll(strings.NewReader(skip + z + skip)); err != nil || !bytes.Equal(got, a) {
		t.Errorf("zstd with skippable frames: %d bytes, %v", len(got), err)
	}
}

// What xz itself writes: several blocks, the x86 filter, SHA-256 as check.
func TestDecompressXZBlocks(t *testing.T) {
	stored, err := os.ReadFile("testdata/blocks-x86.xz")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(bytes.NewReader(stored))
	if want := "e4ff3dec9cbdd42b84c2d4e9afd11065479896f45b9b65787538c21dc69113f9"; err != nil || Digest(got) != want {
		t.Errorf("got %s, %v; want %s", Digest(got), err, want)
	}
	for cut := range len(stored) {
		// Everywhere around the headers, the first blocks' ends and the index.
		if near := cut < 30 || cut > 4300 && cut < 4350 || cut > len(stored)-150; !near && cut%1009 != 0 {
			continue
		}
		if _, err := readAll(bytes.NewReader(stored[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", cut, len(stored), err)
		}
	}
}

// Every place at which two frames can be cut, except between them.
func TestDecompressTruncated(t *testing.T) {
	for name, comp := range compressors {
		if name == "" {
			continue
		}
		first := comp(t, image(1, 3000))
		stored := append(bytes.Clone(first), comp(t, image(2, 200))...)
		for cut := range len(stored) {
			_, err := readAll(bytes.NewReader(stored[:cut]))
			if between := cut == len(first); between && err != nil || !between && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: cut at %d of %d+%d: %v", name, cut, len(first), len(stored)-len(first), err)
			}
		}
	}
}

func TestDecompressGarbageBehind(t *testing.T) {
	for name, comp := range compressors {
		if name == "" {
			continue
		}
		stored := comp(t, image(1, 3000))
		for _, tail := range []string{"x", "xy", "xyz", "garbage", "\x00", strings.Repeat("x", 1<<20), "\x28"} {
			_, err := readAll(io.MultiReader(bytes.NewReader(stored), strings.NewReader(tail)))
			if err == nil {
				t.Errorf("%s with %.8q behind it was read without an error", name, tail)
			}
		}
	}
}

// No flipped bit gives other bytes without an error, since every format has a
// checksum. A flip in a mere label changes nothing. One in the magic makes the
// file a raw image, which the manifest notices.
func TestDecompressFlippedBit(t *testing.T) {
	raw := image(1, 400)
	for name, comp := range compressors {
		stored := comp(t, raw)
		if name == "" {
			continue
		}
		for i := range len(stored) * 8 {
			bad := bytes.Clone(stored)
			bad[i/8] ^= 1 << (i % 8)
			got, err := readAll(bytes.NewReader(bad))
			if err == nil && !bytes.Equal(got, raw) && !bytes.Equal(got, bad) {
				t.Errorf("%s: bit %d flipped: other bytes and no error", name, i)
			}
		}
	}
}

func TestDecompressSourceError(t *testing.T) {
	for name, comp := range compressors {
		stored := comp(t, image(1, 100_000))
		for _, cut := range []int{0, 3, len(stored) / 2, len(stored)} {
			for _, want := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF} {
				_, err := readAll(io.MultiReader(bytes.NewReader(stored[:cut]), iotest.ErrReader(want)))
				if err != want {
					t.Errorf("%q: source fails after %d bytes with %v: got %v", name, cut, want, err)
				}
			}
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	dict, err := os.ReadFile("testdata/dict-1g.xz")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, stored, want string }{
		// RFC 8878 section 3.1.1.1.2: exponent 18 is a window of 256 MiB.
		{"window", "\x28\xb5\x2f\xfd\x00\x90\x09\x00\x00x", "window is larger than 128 MiB"},
		{"dictionary", string(dict), "dictionary is larger than 64 MiB"},
		{"bzip2", "BZh91AY&SY", "compressed with bzip2"},
		{"lz4", "\x04\x22\x4d\x18......", "compressed with lz4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readAll(strings.NewReader(tt.stored))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		})
	}
}

// What does not fit the memory that is left is refused before it is taken.
func TestDecompressWithin(t *testing.T) {
	raw := image(1, 1<<20+1<<16) // more than the memory
	for name, comp := range compressors {
		stored := comp(t, raw)
		d, err := DecompressWithin(bytes.NewReader(stored), 1<<20)
		if err == nil {
			_, err = io.Copy(io.Discard, d)
			d.Close()
		}
		// The zstd encoder's window is 4 MiB, or the whole of a shorter image.
		if want := "window is larger than the 1.0 MiB of memory"; name == "zstd" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		} else if name != "zstd" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d, err = DecompressWithin(bytes.NewReader(stored), 16<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		d.Close()
	}
	// One segment of 4 GiB, RFC 8878 section 3.1.1.1: it has no window of its own.
	long := "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x09\x00\x00x"
	if _, err := readAll(strings.NewReader(long)); err == nil || !strings.Contains(err.Error(), "window is larger than 128 MiB") {
		t.Errorf("one long segment: %v", err)
	}
}

// A decoder that panics is a bad image, not the end of the process.
func TestCutSurvivesItsReader(t *testing.T) {
	var none []byte
	err := Cut(t.Context(), readerFunc(func([]byte) (int, error) { return int(none[3]), nil }), func(int, []byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("error %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func FuzzDecompress(f *testing.F) {
	for _, comp := range compressors {
		f.Add(comp(f, image(1, 2000)))
	}
	if x, err := os.ReadFile("testdata/blocks-x86.xz"); err == nil {
		f.Add(x[:4400])
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		d, err := Decompress(bytes.NewReader(stored))
		if err != nil {
			return
		}
		defer d.Close()
		n, err := io.Copy(io.Discard, io.LimitReader(d, 8<<20))
		if d.(*stream).name == "" && (err != nil || n != int64(len(stored))) {
			t.Errorf("raw image of %d bytes: %d, %v", len(stored), n, err)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	raw := image(1, 32<<20)
	for name, comp := range compressors {
		stored := comp(b, raw)
		b.Run("format="+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(context.Background(), bytes.NewReader(stored)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
