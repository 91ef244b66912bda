package catalog

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bootlace/bootlace/images"
)

// Manifests are those of images that have none beside them in the root. They
// are computed when the appliance starts, and kept in the state folder.
type Manifests struct {
	dir string

	mu  sync.Mutex
	raw map[string]version[[]byte] // by image: one copy, however many devices read it
}

// NewManifests keeps them in dir, which need not be there yet.
func NewManifests(dir string) *Manifests {
	return &Manifests{dir: dir, raw: map[string]version[[]byte]{}}
}

// path flattens an image's name, so that the folder needs no folders in it.
func (m *Manifests) path(image string) string {
	return filepath.Join(m.dir, images.Digest([]byte(image))[:32]+images.ManifestSuffix)
}

// Read returns the manifest of an image, which the caller must not change. The
// error is fs.ErrNotExist where none was made.
func (m *Manifests) Read(image string) ([]byte, error) {
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

func (m *Manifests) write(image string, raw []byte) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return images.WriteFile(m.path(image), raw, 0o600)
}

// olderThan reports whether a manifest was made for an image before its file
// was written last.
func (m *Manifests) olderThan(image string, written time.Time) bool {
	info, err := os.Stat(m.path(image))
	return err == nil && written.After(info.ModTime())
}
