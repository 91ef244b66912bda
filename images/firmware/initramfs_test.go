package firmware

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
)

// The archive is read back as the kernel would. Modules are in an order that
// loads. Names and modes are right. Nothing tells where or when it was made.
func TestArchive(t *testing.T) {
	modules := []module{{Name: "b.ko", Data: []byte("B")}, {Name: "a.ko", Data: []byte("A")}}
	raw, err := archive([]byte("agent"), "some-board", modules, addition{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := archive([]byte("agent"), "some-board", modules, addition{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, again) {
		t.Error("made twice, it differs")
	}
	var b boardBuild
	packed, err := b.compress(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxWindow(1<<windowLog))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	unpacked, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(unpacked, raw) {
		t.Fatalf("decompressed %d of %d bytes: %v", len(unpacked), len(raw), err)
	}

	checkArchive(t, unpacked)
}

// checkArchive looks at each file of an archive.
func checkArchive(t *testing.T, raw []byte) {
	t.Helper()
	got, err := cpio.ArchiveFromReader(cpio.Newc.Reader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{".": true}
	for _, name := range got.Order {
		r := got.Files[name]
		if !seen[filepath.Dir(name)] {
			t.Errorf("%s stands before its folder: the kernel would drop it", name)
		}
		seen[name] = true
		if r.UID != 0 || r.GID != 0 || r.MTime != 0 || r.Ino != 0 || r.Major != 0 || r.Minor != 0 {
			t.Errorf("%s tells of the machine it was made on: %v", name, r.Info)
		}
	}
	for name, want := range map[string]struct {
		mode    uint64
		content string
	}{
		"bin/bootlace":              {cpio.S_IFREG | 0o755, "agent"},
		"init":                      {cpio.S_IFLNK | 0o777, "bin/bootlace"},
		"etc/bootlace/board":        {cpio.S_IFREG | 0o644, "some-board\n"},
		"etc/bootlace/modules":      {cpio.S_IFREG | 0o644, "/lib/modules/bootlace/b.ko\n/lib/modules/bootlace/a.ko\n"},
		"lib/modules/bootlace/a.ko": {cpio.S_IFREG | 0o644, "A"},
		"lib/modules/bootlace/b.ko": {cpio.S_IFREG | 0o644, "B"},
		"tmp":                       {cpio.S_IFDIR | 0o1777, ""},
		"proc":                      {cpio.S_IFDIR | 0o755, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, ok := got.Get(name)
			if !ok {
				t.Errorf("no %s", name)
				return
			}
			content, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if r.Mode != want.mode || string(content) != want.content || err != nil {
				t.Errorf("%s: mode %o %q (%v), want %o %q", name, r.Mode, content, err, want.mode, want.content)
			}
		})
	}
	for name, minor := range map[string]uint64{"dev/console": 1, "dev/null": 3, "dev/kmsg": 11} {
		if r, ok := got.Get(name); !ok || r.Mode&cpio.S_IFMT != cpio.S_IFCHR || r.Rminor != minor {
			t.Errorf("%s: %v", name, r.Info)
		}
	}
}

// The first window of an archive larger than one must not raise what the
// kernel has to set aside.
func TestCompressWindow(t *testing.T) {
	var b boardBuild
	packed, err := b.compress(t.Context(), make([]byte, 3<<windowLog))
	if err != nil {
		t.Fatal(err)
	}
	var h zstd.Header
	if err := h.Decode(packed); err != nil {
		t.Fatal(err)
	}
	if h.SingleSegment || h.WindowSize > 1<<windowLog {
		t.Errorf("window of %d bytes, single segment %v", h.WindowSize, h.SingleSegment)
	}
}
