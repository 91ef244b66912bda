package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func mustMake(t testing.TB, stored []byte) *Manifest {
	t.Helper()
	m, err := Make(context.Background(), bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMake(t *testing.T) {
	const size = 3*BlockSize + 5
	raw := image(3, size)
	for name, comp := range compressors {
		stored := comp(t, raw)
		m := mustMake(t, stored)
		if want := (Sum{int64(len(stored)), Digest(stored)}); m.Stored != want {
			t.Errorf("%q: stored %+v, want %+v", name, m.Stored, want)
		}
		if want := (Sum{size, Digest(raw)}); m.Raw != want {
			t.Errorf("%q: raw %+v, want %+v", name, m.Raw, want)
		}
		if len(m.Blocks) != 4 {
			t.Fatalf("%q: %d blocks", name, len(m.Blocks))
		}
		for i, b := range m.Blocks {
			data := raw[b.Offset : b.Offset+b.Length]
			if err := b.Check(data); err != nil || b.SHA256 != Digest(data) || b.Hole != (i == 1) {
				t.Errorf("%q: block %d is %+v: %v", name, i, b, err)
			}
			if alone := name == ""; alone != (b.Stored != nil) || alone && *b.Stored != (Span{b.Offset, b.Length}) {
				t.Errorf("%q: block %d stored at %v", name, i, b.Stored)
			}
			data = bytes.Clone(data)
			data[len(data)-1] ^= 1
			if b.Check(data) == nil || b.Check(data[1:]) == nil {
				t.Errorf("%q: block %d takes other bytes", name, i)
			}
		}
		enc := m.Encode()
		back, err := ParseManifest(enc)
		if err != nil || !reflect.DeepEqual(back, m) || !bytes.Equal(back.Encode(), enc) {
			t.Errorf("%q: round trip: %v", name, err)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	zst := compressors["zstd"](t, image(1, 2*BlockSize))
	if _, err := Make(context.Background(), bytes.NewReader(zst[:len(zst)-1])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %v", err)
	}
	for _, empty := range [][]byte{nil, compressors["zstd"](t, nil), compressors["gzip"](t, nil)} {
		if _, err := Make(context.Background(), bytes.NewReader(empty)); err == nil {
			t.Errorf("an empty image of %d bytes has a manifest", len(empty))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Make(ctx, bytes.NewReader(zst)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The longest rows of the largest image must fit what a device reads.
func TestManifestBound(t *testing.T) {
	const off = MaxBlocks * BlockSize
	m := &Manifest{Blocks: []Block{{Offset: off, Length: BlockSize, SHA256: zeroBlock(), Hole: true, Stored: &Span{off, BlockSize}}}}
	empty := len((&Manifest{}).Encode())
	if row := len(m.Encode()) - empty; row*MaxBlocks+empty > MaxManifest {
		t.Errorf("a row takes %d bytes, %d of them do not fit %d", row, MaxBlocks, MaxManifest)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	good := string(mustMake(t, image(1, 4*BlockSize+5)).Encode())
	for _, tt := range []struct{ name, old, new, want string }{
		{"version", `"v":1`, `"v":2`, "v 2 is not known"},
		{"newer with new keys", `"v":1`, `"v":2,"new":{}`, "v 2 is not known"},
		{"unknown key", `"v":1`, `"v":1,"new":{}`, "unknown field"},
		{"size", `"raw":{"size":4194309`, `"raw":{"size":4194304`, "do not cover"},
		{"huge", `"raw":{"size":4194309`, `"raw":{"size":9223372036854775807`, "larger than"},
		{"negative", `"raw":{"size":4194309`, `"raw":{"size":-1`, "empty"},
		{"gap", `"offset":2097152,"length":1048576`, `"offset":2097153,"length":1048575`, "do not continue"},
		{"last too long", `"offset":4194304,"length":5`, `"offset":4194304,"length":6`, "do not continue"},
		{"hole", `,"hole":true`, "", ""}, // the mark may be missing
		{"hole of data", `"stored":{"offset":2097152`, `"hole":true,"stored":{"offset":2097152`, "digest is not that of zeros"},
		{"outside", `"stored":{"offset":2097152,`, `"stored":{"offset":9223372036854775807,`, "outside"},
		{"upper case", zeroBlock(), strings.ToUpper(zeroBlock()), "lower-case hex"},
		{"short digest", zeroBlock(), zeroBlock()[1:], "lower-case hex"},
		{"something behind", "]}\n", "]}\n{}", "follows"},
		{"truncated", "]}\n", "", "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%s: %q is not in the manifest", tt.name, tt.old)
			}
			_, err := ParseManifest([]byte(strings.Replace(good, tt.old, tt.new, 1)))
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		})
	}
	if _, err := ParseManifest(make([]byte, MaxManifest+1)); err == nil {
		t.Error("an oversized manifest was read")
	}
	if _, err := ParseManifest(nil); err == nil {
		t.Error("an empty manifest was read")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(mustMake(f, image(1, 4*BlockSize+5)).Encode())
	f.Add(mustMake(f, []byte("small")).Encode())
	f.Add([]byte(`{"v":1,"stored":{"size":1},"raw":{"size":1},"blocks":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			return
		}
		var size int64
		for _, b := range m.Blocks {
			size += b.Length
		}
		if size != m.Raw.Size {
			t.Errorf("blocks hold %d of %d bytes", size, m.Raw.Size)
		}
		back, err := ParseManifest(m.Encode())
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("round trip: %v", err)
		}
	})
}

func TestAddVerify(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "lab.raw.zst")
	raw := image(1, 3*BlockSize+100)
	stored := compressors["zstd"](t, raw)
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(stored)
	if _, err := Verify(ctx, path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("verify without a manifest: %v", err)
	}
	name, m, err := Add(ctx, path)
	if err != nil || name != path+ManifestSuffix {
		t.Fatalf("%q, %v", name, err)
	}
	if got, err := Verify(ctx, path); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("verify: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	info, err := os.Stat(name)
	if len(entries) != 2 || err != nil || info.Mode() != 0o644 {
		t.Errorf("left behind: %v, %v, %v", entries, info, err)
	}

	bad := bytes.Clone(raw)
	bad[BlockSize+7] ^= 1
	other := compressors["zstd"](t, bad)
	m2 := mustMake(t, other)
	for _, tt := range []struct {
		name   string
		stored []byte
		edit   func(*Manifest)
		want   string
	}{
		{"truncated", stored[:len(stored)-1], nil, "the manifest says"},
		{"raw", other, func(m *Manifest) { m.Stored = m2.Stored }, "block 1 at offset 1048576"},
		{"stored digest", stored, func(m *Manifest) { m.Stored.SHA256 = zeroBlock() }, "the file has"},
		{"raw digest", stored, func(m *Manifest) { m.Raw.SHA256 = zeroBlock() }, "the raw image has"},
		{"shorter", stored, func(m *Manifest) { m.Raw.Size, m.Blocks = BlockSize, m.Blocks[:1] }, "goes on past"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(tt.stored)
			mm := mustMake(t, stored)
			if tt.edit != nil {
				tt.edit(mm)
			}
			if err := os.WriteFile(name, mm.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(ctx, path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		})
	}

}

// An image that cannot be added leaves the manifest that was there.
func TestAddFails(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path := filepath.Join(dir, "lab.raw.zst")
	stored := compressors["zstd"](t, image(1, 3*BlockSize+100))
	if err := os.WriteFile(path, stored, 0o644); err != nil {
		t.Fatal(err)
	}
	name, _, err := Add(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, stored[:len(stored)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(name)
	if _, _, err := Add(ctx, path); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("add of a truncated image: %v", err)
	}
	if after, err := os.ReadFile(name); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old manifest is gone: %v", err)
	}
	if _, _, err := Add(ctx, name); err == nil {
		t.Error("a manifest of a manifest was made")
	}
	if _, _, err := Add(ctx, dir); err == nil {
		t.Error("a manifest of a folder was made")
	}
}
