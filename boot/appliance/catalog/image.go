package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/images"
)

// Image describes an image as it is in the folder now. A manifest has a row for
// each MiB. So it is parsed only when it has changed.
func (c *Catalog) Image(ctx context.Context, file string) (*boot.Image, error) {
	f, err := c.tree.Open(ctx, ourselves, file)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", file, err)
	}
	defer f.Close()
	mf, err := c.tree.Open(ctx, ourselves, file+images.ManifestSuffix)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", file, err)
	}
	defer mf.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.images[file]
	if !ok || !v.current(mf.Size(), mf.ModTime()) {
		raw, m, err := readManifest(file, mf)
		if err != nil {
			return nil, err
		}
		v = version[boot.Image]{mf.Size(), mf.ModTime(), boot.Image{
			Name: file, Size: m.Stored.Size, ManifestSize: int64(len(raw)), ManifestSHA256: images.Digest(raw),
		}}
		c.images[file] = v
	}
	if v.value.Size != f.Size() {
		return nil, fmt.Errorf("image %s has %d bytes, its manifest says %d; `bootlace image add` it again", file, f.Size(), v.value.Size)
	}
	return &v.value, nil
}

// manifest reads the manifest that devices get.
func (c *Catalog) manifest(ctx context.Context, image string) (*images.Manifest, error) {
	f, err := c.tree.Open(ctx, ourselves, image+images.ManifestSuffix)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", image, err)
	}
	defer f.Close()
	_, m, err := readManifest(image, f)
	return m, err
}

func readManifest(image string, f *files.File) ([]byte, *images.Manifest, error) {
	if f.Size() > images.MaxManifest {
		return nil, nil, fmt.Errorf("manifest of %s: larger than %d bytes", image, images.MaxManifest)
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest of %s: %w", image, err)
	}
	m, err := images.ParseManifest(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest of %s: %w", image, err)
	}
	return raw, m, nil
}

// Prepare makes the manifest of an image that has none. From then on Run
// watches the image. sha256 is the digest that the stored file must have, ""
// for any. The user can mend every error it returns.
func (c *Catalog) Prepare(ctx context.Context, file, sha256 string) error {
	f, err := c.tree.Open(ctx, ourselves, file)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := c.manifest(ctx, file)
	// A manifest in the root is the user's. Ours is made anew if the image has
	// changed.
	stale := err == nil && (c.manifests.olderThan(file, f.ModTime()) || m.Stored.Size != f.Size())
	if stale || errors.Is(err, fs.ErrNotExist) {
		m, err = c.makeManifest(ctx, file, f)
	}
	if err != nil {
		return err
	}
	if sha256 != "" && sha256 != m.Stored.SHA256 {
		return fmt.Errorf("sha256 of the file is %s, the config says %s", m.Stored.SHA256, sha256)
	}
	im, err := c.Image(ctx, file)
	c.logImageChange(file, im, err)
	return nil
}

// makeManifest reads an image and keeps its manifest. It returns the manifest
// that a device gets. One in the root goes before ours, even if it is stale.
func (c *Catalog) makeManifest(ctx context.Context, file string, f *files.File) (*images.Manifest, error) {
	began := time.Now()
	c.log.Info("reading image to make its manifest", "image", file, "bytes", f.Size())
	m, err := images.Make(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := c.manifests.write(file, m.Encode()); err != nil {
		return nil, fmt.Errorf("keep manifest: %w", err)
	}
	c.log.Info("manifest made", "image", file, "raw_bytes", m.Raw.Size, "took", time.Since(began).Round(time.Millisecond))
	if m, err = c.manifest(ctx, file); err == nil && m.Stored.Size != f.Size() {
		err = fmt.Errorf("the manifest beside it is of another file of %d bytes; `bootlace image add` makes it anew", m.Stored.Size)
	}
	return m, err
}

// File describes a kernel or initrd. Its digest is computed when the file has
// changed.
func (c *Catalog) File(ctx context.Context, name string) (*boot.File, error) {
	f, err := c.tree.Open(ctx, ourselves, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	c.mu.Lock()
	v, ok := c.kernels[name]
	c.mu.Unlock()
	if ok && v.current(f.Size(), f.ModTime()) {
		return &v.value, nil
	}
	sum := images.NewSummer()
	if _, err := io.Copy(sum, io.LimitReader(f, f.Size())); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v = version[boot.File]{f.Size(), f.ModTime(), boot.File{Name: name, Size: f.Size(), SHA256: sum.Sum().SHA256}}
	c.mu.Lock()
	c.kernels[name] = v
	c.mu.Unlock()
	return &v.value, nil
}
