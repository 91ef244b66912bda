package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
	"go.yaml.in/yaml/v3"
)

// Config is a checked configuration, for all packages of the appliance.
type Config struct {
	File      string // path of the config file, "" without one
	Root      string
	State     string
	Upload    string // folder for uploads; "" refuses them
	Interface []string
	Address   netip.Prefix      // set on the interface by our firmware; invalid: none
	Advertise netip.Addr        // invalid: the interface's own address
	Listen    map[string]string // address by protocol name, see boot.Protocols; "" is off

	DHCP   dhcp.Config
	Leases lease.Config
	TFTP   tftp.Config
	FTP    ftp.Config

	Images   map[string]Image
	Profiles []*boot.Profile
	Unknown  boot.Action // for machines without a profile: ignore or wait
	Log      string      // text or json
}

// An Image is a stored image under the root. SHA256 is that of the stored file,
// "" where the config has none.
type Image struct {
	File   string
	SHA256 string
}

// Image returns the image that a profile names. The name is a key of images, or
// a file under the root.
func (c *Config) Image(name string) Image {
	if im, ok := c.Images[name]; ok {
		return im
	}
	return Image{File: name}
}

// ImageFiles returns the file names under the root, by key of images.
func (c *Config) ImageFiles() map[string]string {
	byKey := map[string]string{}
	for key, im := range c.Images {
		byKey[key] = im.File
	}
	return byKey
}

// Defaults of keys without a value.
const (
	DefaultState = "/var/lib/bootlace"
)

// Load reads the config file, applies the flags over it and checks the result.
// The user can mend every error.
func (f *Flags) Load() (*Config, error) {
	var r raw
	var doc *yaml.Node
	where := "flags"
	if f.file != "" {
		text, err := os.ReadFile(f.file)
		if err != nil {
			return nil, fmt.Errorf("read config: %w", err)
		}
		where = f.file
		if doc, err = decode(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
	}
	for _, set := range f.set {
		set(&r)
	}
	c, err := r.typed()
	if err == nil {
		c.File = f.file
		err = c.checkFolders()
	}
	var k *keyError
	if errors.As(err, &k) {
		if line := lineOf(doc, k.key); line > 0 {
			return nil, fmt.Errorf("%s: line %d: %w", where, line, err)
		}
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return c, err
}

// checkFolders checks that root, state, config and upload are not inside one
// another. Otherwise secrets could be served, or uploads.
func (c *Config) checkFolders() error {
	info, err := os.Stat(c.Root)
	if err != nil {
		return &keyError{"root", errors.Unwrap(err)}
	}
	if !info.IsDir() {
		return &keyError{"root", fmt.Errorf("%s is not a folder", c.Root)}
	}
	named := []struct{ key, path string }{{"root", c.Root}, {"state", c.State}, {"upload", c.Upload}, {"config", c.File}}
	for i, a := range named {
		for j, b := range named {
			if i == j || a.path == "" || b.path == "" || a.key == "config" {
				continue
			}
			if inside(b.path, a.path) {
				return &keyError{b.key, fmt.Errorf("%s lies inside %s, the %s folder; they must be apart", b.path, a.path, a.key)}
			}
		}
	}
	return nil
}

// inside reports whether path is dir or below it. It follows symbolic links as
// far as the path exists.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(resolved(dir), resolved(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func resolved(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	target, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) && abs != "/" {
		return filepath.Join(resolved(filepath.Dir(abs)), filepath.Base(abs))
	}
	if err != nil {
		return abs
	}
	return target
}

// A keyError is a key with a wrong value.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }
