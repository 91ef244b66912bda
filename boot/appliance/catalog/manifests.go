package catalog

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bootlace/bootlace/images"
)

// Manifests are the manifests of images that have none in the root. They are
// computed at start, and kept in the state folder.
type Manifests struct {
	dir string

	mu  sync.Mutex
	raw map[string]version[[]byte] // by image name; all clients share one copy
}

// NewManifests keeps the manifests in dir, which need not exist.
func NewManifests(dir string) *Manifests {
	return &Manifests{dir: dir, raw: map[string]version[[]byte]{}}
}

// path names the file of an image's manifest. The name is a digest, so the
// folder needs no subfolders.
func (m *Manifests) path(image string) string {
	return filepath.Join(m.dir, images.Digest([]byte(image))[:32]+images.ManifestSuffix)
}

// Read returns the manifest of an image. The caller must not change it. The
// error is fs.ErrNotExist where there is none.
func (m *Manifests) Read(image string) ([]byte, error) {
	info, err := os.Stat(m.path(image))
	if err != nil {
		return nil, fs.ErrNotExist
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.raw[image]; ok && v.current(info.Size(), info.ModTime()) {
		return v.value, nil
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

// olderThan reports whether an image was written after its manifest was made.
func (m *Manifests) olderThan(image string, written time.Time) bool {
	info, err := os.Stat(m.path(image))
	return err == nil && written.After(info.ModTime())
}
