package catalog

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/images"
)

// A fixture is a catalog over a root and a folder of manifests.
type fixture struct {
	*Catalog
	t    *testing.T
	root string
	log  bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, root: t.TempDir()}
	made := NewManifests(filepath.Join(t.TempDir(), "manifests"))
	tree, err := files.OpenTree(f.root, files.Made{After: func(_ context.Context, _ files.Client, name string) ([]byte, error) {
		if image, ok := strings.CutSuffix(name, images.ManifestSuffix); ok {
			return made.Read(image)
		}
		return nil, fs.ErrNotExist
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	f.Catalog = New(tree, made, slog.New(slog.NewTextHandler(&f.log, nil)))
	return f
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// add does what `bootlace image add` does: it writes a manifest beside the
// image.
func (f *fixture) add(name string) {
	f.t.Helper()
	r, err := os.Open(filepath.Join(f.root, name))
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	m, err := images.Make(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name+images.ManifestSuffix, string(m.Encode()))
}

// Firmware may come or go while the appliance runs. The catalog sees it within
// two seconds. Has does not read the disk.
func TestFirmwareIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		b, _ := board.ByName("pc-x86_64")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		synctest.Wait()
		for _, there := range []bool{true, false} {
			if there {
				f.write(b.File(board.UKI), "MZ")
			} else if err := os.Remove(filepath.Join(f.root, b.File(board.UKI))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * Interval)
			synctest.Wait()
			before := f.tree.Looks()
			if got := f.Has(b, board.UKI); got != there {
				t.Errorf("it is there: %v, and the catalog says %v", there, got)
			}
			if n := f.tree.Looks() - before; n != 0 {
				t.Errorf("%d looks at the disk for one question", n)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// After `image add` the next plan names the new image at once.
func TestImageAddCountsAtOnce(t *testing.T) {
	f := newFixture(t)
	f.write("lab.raw", strings.Repeat("old", 1000))
	f.add("lab.raw")
	if err := f.Prepare(t.Context(), "lab.raw", ""); err != nil {
		t.Fatal(err)
	}
	old, err := f.Image(t.Context(), "lab.raw")
	if err != nil {
		t.Fatal(err)
	}
	f.write("lab.raw", strings.Repeat("newer", 1000))
	if im, err := f.Image(t.Context(), "lab.raw"); err == nil || !strings.Contains(err.Error(), "`bootlace image add` it again") {
		t.Errorf("an image with another's manifest: %+v, %v", im, err)
	}
	f.Look(t.Context())
	f.add("lab.raw")
	im, err := f.Image(t.Context(), "lab.raw")
	if err != nil || im.ManifestSHA256 == old.ManifestSHA256 || im.Size != 5000 {
		t.Errorf("added again: %+v, %v", im, err)
	}
	f.Look(t.Context())
	f.Look(t.Context())
	for _, want := range []string{"an image cannot be flashed any more", "an image is there anew"} {
		if n := strings.Count(f.log.String(), want); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", want, n, f.log.String())
		}
	}
}

// An image without a manifest gets one that is kept. The config's digest must
// agree with it.
func TestPrepare(t *testing.T) {
	f := newFixture(t)
	f.write("lab.raw", "an image")
	sum := images.Digest([]byte("an image"))
	if err := f.Prepare(t.Context(), "lab.raw", sum); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(f.root, "lab.raw"+images.ManifestSuffix)); err == nil {
		t.Error("the manifest was written into the root")
	}
	if im, err := f.Image(t.Context(), "lab.raw"); err != nil || im.Size != 8 {
		t.Errorf("%+v, %v", im, err)
	}
	if err := f.Prepare(t.Context(), "lab.raw", images.Digest([]byte("another"))); err == nil || !strings.Contains(err.Error(), "sha256 of the file is "+sum) {
		t.Errorf("another digest: %v", err)
	}
	f.write("lab.raw"+images.ManifestSuffix, "{}")
	if err := f.Prepare(t.Context(), "lab.raw", ""); err == nil {
		t.Error("a broken manifest beside the image passes")
	}
	if err := f.Prepare(t.Context(), "none.raw", ""); err == nil {
		t.Error("an image that is not there passes")
	}
}

// A kernel's digest is computed once, until the file changes.
func TestFile(t *testing.T) {
	f := newFixture(t)
	f.write("vmlinuz", "kernel")
	first, err := f.File(t.Context(), "vmlinuz")
	if err != nil || first.SHA256 != images.Digest([]byte("kernel")) || first.Size != 6 {
		t.Fatalf("%+v, %v", first, err)
	}
	f.write("vmlinuz", "another kernel")
	if got, err := f.File(t.Context(), "vmlinuz"); err != nil || got.SHA256 != images.Digest([]byte("another kernel")) {
		t.Errorf("replaced: %+v, %v", got, err)
	}
	if _, err := f.File(t.Context(), "none"); err == nil {
		t.Error("a file that is not there has a digest")
	}
}

// The BUILD file says whether firmware can serve. Firmware without one is the
// user's own.
func TestLacksServe(t *testing.T) {
	b, _ := board.ByName("pc-x86_64")
	for text, want := range map[string]bool{"board x\nserve false\n": true, "serve true\n": false, "": false} {
		t.Run(text, func(t *testing.T) {
			f := newFixture(t)
			if text != "" {
				f.write(b.File(board.Build), text)
			}
			if got := f.LacksServe(t.Context(), b); got != want {
				t.Errorf("%q: %v", text, got)
			}
		})
	}
}
