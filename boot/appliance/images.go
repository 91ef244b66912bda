package appliance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/images"
)

// manifests are those of images that have none beside them in the root. They
// are computed when the appliance starts and kept in the state folder.
type manifests struct {
	dir string

	mu  sync.Mutex
	raw map[string]version[[]byte] // by image: one copy, however many devices read it
}

// A version is what was made of a file, which holds until the file changes.
type version[T any] struct {
	size int64
	mod  time.Time
	of   T
}

func (v version[T]) is(size int64, mod time.Time) bool { return v.size == size && v.mod.Equal(mod) }

// path flattens an image's name, so that the folder needs no folders in it.
func (m *manifests) path(image string) string {
	return filepath.Join(m.dir, images.Digest([]byte(image))[:32]+images.ManifestSuffix)
}

func (m *manifests) read(image string) ([]byte, error) {
	info, err := os.Stat(m.path(image))
	if err != nil {
		return nil, fs.ErrNotExist
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.raw[image]; ok && v.is(info.Size(), info.ModTime()) {
		return v.of, nil
	}
	raw, err := os.ReadFile(m.path(image))
	if err != nil {
		return nil, fs.ErrNotExist
	}
	m.raw[image] = version[[]byte]{info.Size(), info.ModTime(), raw}
	return raw, nil
}

func (m *manifests) write(image string, raw []byte) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return images.WriteFile(m.path(image), raw, 0o600)
}

// imageFile is the file of an image that a profile names: a key of images, or
// a name under the root.
func imageFile(cfg *config.Config, name string) config.Image {
	if im, ok := cfg.Images[name]; ok {
		return im
	}
	return config.Image{File: name}
}

// image describes what a decision flashes, as it lies in the root now.
func (a *Appliance) image(d decision) (*boot.Image, error) {
	name, ok := d.profile.Image(d.machine.Board)
	if !ok {
		return nil, fmt.Errorf("profile %s has no image for board %q", d.profile.Name, d.machine.Board)
	}
	im := imageFile(a.cfg, name)
	f, err := a.tree.Open(im.File, a.self)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", im.File, err)
	}
	defer f.Close()
	mf, err := a.tree.Open(im.File+images.ManifestSuffix, a.self)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", im.File, err)
	}
	defer mf.Close()
	// Every DHCP packet and every report asks, and a manifest has a row for each
	// MiB: it is read once a version.
	a.described.mu.Lock()
	defer a.described.mu.Unlock()
	v, ok := a.described.of[im.File]
	if !ok || !v.is(mf.Size(), mf.ModTime()) {
		raw, m, err := readManifest(im.File, mf)
		if err != nil {
			return nil, err
		}
		v = version[boot.Image]{mf.Size(), mf.ModTime(), boot.Image{
			Name: im.File, Size: m.Stored.Size, ManifestSize: int64(len(raw)), ManifestSHA256: images.Digest(raw),
		}}
		a.described.of[im.File] = v
	}
	if v.of.Size != f.Size() {
		return nil, fmt.Errorf("image %s has %d bytes, its manifest says %d; `bootlace image add` it again", im.File, f.Size(), v.of.Size)
	}
	return &v.of, nil
}

// described remembers what image says, by name.
type described struct {
	mu sync.Mutex
	of map[string]version[boot.Image]
}

// manifest reads the manifest that devices would get.
func (a *Appliance) manifest(image string) (*images.Manifest, error) {
	f, err := a.tree.Open(image+images.ManifestSuffix, a.self)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", image, err)
	}
	defer f.Close()
	_, m, err := readManifest(image, f)
	return m, err
}

func readManifest(image string, f *images.File) ([]byte, *images.Manifest, error) {
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

// prepare makes the manifests that are missing and holds the config's digests
// against them. What it returns the user can mend.
func (a *Appliance) prepare(ctx context.Context) error {
	a.firmware()
	done := map[string]bool{}
	for _, p := range a.cfg.Profiles {
		if err := a.reachable(p); err != nil {
			return fmt.Errorf("profile %s: %w", p.Name, err)
		}
		if err := a.canServe(p); err != nil {
			return fmt.Errorf("profile %s: %w", p.Name, err)
		}
		for _, name := range p.Images {
			im := imageFile(a.cfg, name)
			if done[im.File] {
				continue
			}
			done[im.File] = true
			if err := a.prepareImage(ctx, im); err != nil {
				return fmt.Errorf("profile %s: image %s: %w", p.Name, name, err)
			}
		}
		for _, name := range []string{p.Kernel, p.Initrd} {
			if name == "" {
				continue
			}
			if _, err := a.file(ctx, name); err != nil {
				return fmt.Errorf("profile %s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// reachable reports what a profile needs that is off: its machines would try
// for ever.
func (a *Appliance) reachable(p *boot.Profile) error {
	row := p.Action.Row()
	switch {
	case !row.NeedsPlan:
	case a.cfg.TFTP == "":
		return errors.New("tftp is off, and machines fetch their plan there")
	case a.cfg.HTTP == "" && row.NeedsAck:
		return errors.New("http is off, and machines report there that they are done")
	case row.NeedsSources() && len(a.sources(a.self, p.Transfer.Order)) == 0:
		return fmt.Errorf("transfer.order: %s: each of it is off", strings.Join(p.Transfer.Order, ", "))
	}
	return nil
}

func (a *Appliance) prepareImage(ctx context.Context, im config.Image) error {
	f, err := a.tree.Open(im.File, a.self)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := a.manifest(im.File)
	// One in the root is the user's; one of ours is made anew when the image
	// has changed since.
	ours := false
	if info, serr := os.Stat(a.manifests.path(im.File)); serr == nil {
		ours = f.ModTime().After(info.ModTime())
	}
	if errors.Is(err, fs.ErrNotExist) || (ours && err == nil) || (err == nil && m.Stored.Size != f.Size()) {
		begin := time.Now()
		a.log.Info("reading image to make its manifest", "image", im.File, "bytes", f.Size())
		if m, err = images.Make(ctx, f); err != nil {
			return err
		}
		if err := a.manifests.write(im.File, m.Encode()); err != nil {
			return fmt.Errorf("keep manifest: %w", err)
		}
		a.log.Info("manifest made", "image", im.File, "raw_bytes", m.Raw.Size, "took", time.Since(begin).Round(time.Millisecond))
		// Read it as a device will: a stale one in the root still hides it.
		if m, err = a.manifest(im.File); err == nil && m.Stored.Size != f.Size() {
			err = fmt.Errorf("the manifest beside it is of another file of %d bytes; `bootlace image add` makes it anew", m.Stored.Size)
		}
	}
	if err != nil {
		return err
	}
	if im.SHA256 != "" && im.SHA256 != m.Stored.SHA256 {
		return fmt.Errorf("sha256 of the file is %s, the config says %s", m.Stored.SHA256, im.SHA256)
	}
	return nil
}

// firmware says for which boards there is none in the root: their machines
// would get a script and then nothing.
func (a *Appliance) firmware() {
	var missing []string
	for _, b := range board.Boards {
		if !a.firmed(b) {
			missing = append(missing, b.Name)
		}
	}
	if len(missing) == len(board.Boards) && a.cfg.DHCP.Mode != config.Off {
		a.log.Warn("no firmware in the root: `mkboot build BOARD -o ROOT` makes it", "boards", missing)
	}
}

// digests remembers the SHA-256 of kernels and initrds, by name, size and time.
type digests struct {
	mu sync.Mutex
	of map[string]version[boot.File]
}

// file describes a file of the root with its digest, computed once a version.
func (a *Appliance) file(ctx context.Context, name string) (*boot.File, error) {
	f, err := a.tree.Open(name, a.self)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	a.digests.mu.Lock()
	defer a.digests.mu.Unlock()
	if v, ok := a.digests.of[name]; ok && v.is(f.Size(), f.ModTime()) {
		return &v.of, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, f.Size())); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := boot.File{Name: name, Size: f.Size(), SHA256: hex.EncodeToString(h.Sum(nil))}
	a.digests.of[name] = version[boot.File]{f.Size(), f.ModTime(), out}
	return &out, nil
}

// secret reads a key of 32 bytes from the state folder, or draws it.
func secret(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw = []byte(boot.NewBoot() + boot.NewBoot())
		return raw, images.WriteFile(path, raw, 0o600)
	}
	if err == nil && len(bytes.TrimSpace(raw)) < 32 {
		err = fmt.Errorf("%s: shorter than 32 bytes; remove it and start again", path)
	}
	return bytes.TrimSpace(raw), err
}
