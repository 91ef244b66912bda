// Package config reads what a person says to the appliance: bootlace.yaml and
// the flags of `bootlace serve`. Strict raw text becomes typed values, or an
// error that says which key, where, and what would be right.
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
	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
	"go.yaml.in/yaml/v3"
)

// Config is a checked configuration: what each room of the appliance is to do.
type Config struct {
	File      string // the config file, "" without one
	Root      string
	State     string
	Upload    string // "" refuses uploads
	Interface []string
	Address   netip.Prefix      // set on the interface by the firmware, invalid without
	Advertise netip.Addr        // invalid: the interface's own
	Listen    map[string]string // address by name of boot.Protocols; "" is off

	DHCP DHCP
	TFTP TFTP
	FTP  ftp.Config

	Images   map[string]Image
	Profiles []*boot.Profile
	Unknown  boot.Action // for machines that no profile matches: ignore or wait
	Log      string      // text or json
}

// TFTP holds the settings of its server.
type TFTP struct {
	SinglePort bool
	RollToOne  bool        // block 1 follows block 65535, else 0
	Fragments  bool        // blocks that only fragments carry are granted
	Limits     tftp.Limits // zero where nothing is said
}

// DHCP modes.
const (
	Proxy = "proxy" // boot answers beside the network's own server
	Full  = "full"  // addresses as well
	Off   = "off"
)

// DHCP is the part of it that hands out addresses.
type DHCP struct {
	Mode    string
	Force   bool           // serve although another server answers
	Subnets []lease.Subnet // one without a Prefix is of the interface that its pool lies in
	Hosts   []lease.Host
	Six     []lease.Subnet // IPv6 networks, whose addresses are given by DHCPv6
}

// An Image is a stored image under the root; SHA256 is that of the stored
// file, "" where the config does not say.
type Image struct {
	File   string
	SHA256 string
}

// Image is the file of an image that a profile names: by a key of images, or
// by a name under the root.
func (c *Config) Image(name string) Image {
	if im, ok := c.Images[name]; ok {
		return im
	}
	return Image{File: name}
}

// ImageFiles are the files under the root by key of images.
func (c *Config) ImageFiles() map[string]string {
	byKey := map[string]string{}
	for key, im := range c.Images {
		byKey[key] = im.File
	}
	return byKey
}

// Defaults of keys that are not set.
const (
	DefaultState = "/var/lib/bootlace"
)

// Load reads the file that the flags name, puts the flags over it and checks
// the whole. Every error is one that the user can mend.
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
		err = c.folders()
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

// folders holds that root, state, config and upload do not lie inside one
// another: what is served would hold secrets, or what is written be served.
func (c *Config) folders() error {
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

// inside reports whether path is dir or lies in it, links resolved as far as
// the path exists.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func real(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) && abs != "/" {
		return filepath.Join(real(filepath.Dir(abs)), filepath.Base(abs))
	}
	if err != nil {
		return abs
	}
	return resolved
}

// A keyError is a wrong value and the key that has it.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }
