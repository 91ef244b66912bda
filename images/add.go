package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Add makes the manifest of the image at path and puts it beside the image, whole
// or not at all.
func Add(ctx context.Context, path string) (manifest string, m *Manifest, err error) {
	if strings.HasSuffix(path, ManifestSuffix) {
		return "", nil, fmt.Errorf("add image: %s is a manifest already", path)
	}
	f, before, err := openImage(path)
	if err != nil {
		return "", nil, fmt.Errorf("add image: %w", err)
	}
	defer f.Close()
	if m, err = Make(ctx, f); err != nil {
		return "", nil, fmt.Errorf("add image %s: %w", path, err)
	}
	after, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("add image: %w", err)
	}
	if m.Stored.Size != after.Size() || !after.ModTime().Equal(before.ModTime()) {
		return "", nil, fmt.Errorf("add image %s: it changed while it was read", path)
	}
	manifest = path + ManifestSuffix
	if err := WriteFile(manifest, m.Encode(), 0o644); err != nil {
		return "", nil, fmt.Errorf("add image: %w", err)
	}
	return manifest, m, nil
}

// Verify compares the image at path with the manifest beside it. The error names
// the first difference.
func Verify(ctx context.Context, path string) (*Manifest, error) {
	want, err := ReadManifest(path + ManifestSuffix)
	if err != nil {
		return nil, fmt.Errorf("verify image: %w", err)
	}
	f, info, err := openImage(path)
	if err != nil {
		return nil, fmt.Errorf("verify image: %w", err)
	}
	defer f.Close()
	if info.Size() != want.Stored.Size {
		return nil, fmt.Errorf("verify image %s: the file has %d bytes, the manifest says %d", path, info.Size(), want.Stored.Size)
	}
	got, err := walk(ctx, f, func(i int, b Block) error {
		if i >= len(want.Blocks) {
			return fmt.Errorf("goes on past the %d bytes of the raw image", want.Raw.Size)
		}
		if w := want.Blocks[i]; b.SHA256 != w.SHA256 || b.Length != w.Length {
			return fmt.Errorf("block %d at offset %d: %d bytes with sha256 %s, the manifest says %d with %s",
				i, b.Offset, b.Length, b.SHA256, w.Length, w.SHA256)
		}
		return nil
	})
	switch {
	case err != nil:
	case got.Raw != want.Raw:
		err = differs("raw image", got.Raw, want.Raw)
	case got.Stored != want.Stored:
		err = differs("file", got.Stored, want.Stored)
	}
	if err != nil {
		return nil, fmt.Errorf("verify image %s: %w", path, err)
	}
	return want, nil
}

func differs(what string, got, want Sum) error {
	return fmt.Errorf("the %s has %d bytes with sha256 %s, the manifest says %d with %s",
		what, got.Size, got.SHA256, want.Size, want.SHA256)
}

// ReadManifest reads the manifest file at path.
func ReadManifest(path string) (*Manifest, error) {
	f, _, err := openImage(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// openImage opens a regular file and nothing else, since a pipe would block.
func openImage(path string) (*os.File, os.FileInfo, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// WriteFile replaces a file. A reader sees the old or the new content, and never
// a part, also after a power cut. The temporary name begins with a dot, so that
// it is not served.
func WriteFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
