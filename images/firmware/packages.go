package firmware

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/images"
)

// A Package is one binary package of Debian's archive, in the cache.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // Debian's name for it
	SHA256  string `json:"sha256"`
	File    string `json:"file"` // name in the cache's packages folder

	Path string `json:"-"` // of the .deb
}

// Packages fetches Debian packages of any architecture into a cache. It asks
// apt, so that apt's signatures, proxies and mirrors hold. It gives apt a state
// of its own: neither root nor the machine's package lists are needed, and
// nothing of the machine's is changed.
//
// A package that was resolved once is remembered by version and SHA-256. It
// needs no network from then on, until Update. Several processes may use one
// cache.
type Packages struct {
	Dir    string // of the cache
	Update bool   // ask for the newest version even if one is remembered
	Log    *slog.Logger

	sources string             // deb822 sources to use instead of the machine's
	asked   map[string]Package // by key, so that Update asks once
	updated map[string]bool    // architectures whose lists this process fetched
}

// CacheDir is the default cache: bootlace in $XDG_CACHE_HOME, or in ~/.cache.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder to cache packages in: %w", err)
	}
	return filepath.Join(dir, "bootlace"), nil
}

// Get returns a package for an architecture, which is named as Debian does. A
// kernel's metapackage stands for the package it depends on:
// linux-image-cloud-amd64 for linux-image-6.1.0-56-cloud-amd64.
func (p *Packages) Get(ctx context.Context, arch, name string) (Package, error) {
	key := arch + "/" + name
	if pkg, ok := p.asked[key]; ok {
		return pkg, nil
	}
	if !p.Update {
		if pkg, err := p.remembered(key); err == nil {
			return pkg, nil
		}
	}
	pkg, err := p.ask(ctx, arch, name)
	if err != nil {
		return Package{}, fmt.Errorf("get package %s for %s: %w", name, arch, err)
	}
	if p.asked == nil {
		p.asked = make(map[string]Package)
	}
	p.asked[key] = pkg
	return pkg, nil
}

// remembered returns what was resolved before, if its .deb is still whole.
func (p *Packages) remembered(key string) (Package, error) {
	pkg, ok := p.record()[key]
	if !ok {
		return Package{}, fs.ErrNotExist
	}
	pkg.Path = filepath.Join(p.Dir, "packages", filepath.Base(pkg.File))
	digest, err := fileDigest(pkg.Path)
	if err != nil {
		return Package{}, err
	}
	if digest != pkg.SHA256 {
		return Package{}, fmt.Errorf("%s is damaged", pkg.File)
	}
	return pkg, nil
}

// record reads what was resolved before. A record that cannot be read counts as
// empty.
func (p *Packages) record() map[string]Package {
	resolved := make(map[string]Package)
	raw, err := os.ReadFile(filepath.Join(p.Dir, "packages", "resolved.json"))
	if err != nil || json.Unmarshal(raw, &resolved) != nil {
		return map[string]Package{}
	}
	return resolved
}

// ask resolves and downloads a package. It keeps other processes from doing so
// at the same time.
func (p *Packages) ask(ctx context.Context, arch, name string) (Package, error) {
	dir := filepath.Join(p.Dir, "packages")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Package{}, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return Package{}, err
	}
	defer unlock()
	key := arch + "/" + name
	want := name
	if !p.Update {
		if pkg, err := p.remembered(key); err == nil {
			return pkg, nil // another process was first
		}
		// The file was lost or damaged in the cache. The same version is fetched
		// again, so that what is built from it does not change.
		if old, ok := p.record()[key]; ok {
			want = old.Name + "=" + old.Version
		}
	}
	apt, err := newApt(filepath.Join(p.Dir, "apt", arch), arch, p.sources)
	if err != nil {
		return Package{}, err
	}
	var missing error
	if !p.updated[arch] {
		p.Log.Info("fetching package lists", "arch", arch)
		if _, err := apt.run(ctx, "", "apt-get", "update", "-qq"); ctx.Err() != nil {
			return Package{}, err
		} else if err != nil {
			// One of several lists may be missing, as while a mirror is being
			// updated. The package may be in another.
			p.Log.Warn("not all package lists are there", "arch", arch, "err", err)
			missing = err
		}
		if p.updated == nil {
			p.updated = make(map[string]bool)
		}
		p.updated[arch] = true
	}
	pkg, err := apt.resolve(ctx, want)
	if err != nil && missing != nil {
		return Package{}, fmt.Errorf("%w (%w)", err, missing)
	} else if err != nil && want != name {
		return Package{}, fmt.Errorf("%w (if that version has left the archive: --update)", err)
	} else if err != nil {
		return Package{}, err
	}
	p.Log.Info("downloading", "package", pkg.Name, "version", pkg.Version, "arch", pkg.Arch)
	if err := apt.download(ctx, &pkg, dir); err != nil {
		return Package{}, err
	}
	resolved := p.record()
	resolved[key] = pkg
	raw, err := json.MarshalIndent(resolved, "", "\t")
	if err != nil {
		return Package{}, err
	}
	return pkg, images.WriteFile(filepath.Join(dir, "resolved.json"), append(raw, '\n'), 0o644)
}

// lock waits until this process alone holds the file. The kernel releases it
// when the process ends, however it ends.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock cache: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another mkboot: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unpack writes the wanted regular files of a .deb below dir. Names are relative:
// boot/vmlinuz-6.1.
func unpack(ctx context.Context, deb, dir string, want func(name string) bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	err = untar(root, out, want)
	io.Copy(io.Discard, out)
	if werr := cmd.Wait(); werr != nil {
		err = fmt.Errorf("%w: %s", werr, bytes.TrimSpace(stderr.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	return nil
}

func untar(root *os.Root, r io.Reader, want func(string) bool) error {
	made := "" // the folder of the file before, mostly the same
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag != tar.TypeReg || !want(name) {
			continue
		}
		if dir := path.Dir(name); dir != made {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made = dir
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, tr)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}

// fileDigest is images.Digest of a file's bytes.
func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := images.NewSummer()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return h.Sum().SHA256, nil
}
