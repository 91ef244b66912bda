// Package config reads what a person says to the appliance: bootlace.yaml and
// the flags of `bootlace serve`. Strict raw text becomes typed values, or an
// error that says which key, where, and what would be right.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
	"go.yaml.in/yaml/v3"
)

// Config is a checked configuration.
type Config struct {
	File      string // the config file, "" without one
	Root      string
	State     string
	Upload    string // "" refuses uploads
	Interface []string
	Address   netip.Prefix // set on the interface by the firmware, invalid without
	DHCP      DHCP
	TFTP      string // listen address, "" is off; likewise FTP and HTTP
	FTP       string
	HTTP      string
	Advertise netip.Addr // invalid: the interface's own

	TFTPSinglePort bool
	TFTPRollToOne  bool        // block 1 follows block 65535, else 0
	TFTPFragments  bool        // blocks that only fragments carry are granted
	TFTPLimits     tftp.Limits // zero where nothing is said
	FTPPassive     Ports       // zero: any

	Images   map[string]Image
	Profiles []*boot.Profile
	Unknown  boot.Action // for machines that no profile matches: ignore or wait
	Log      string      // text or json
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

// Ports is a range of TCP ports, both included.
type Ports struct{ From, To uint16 }

// Defaults of keys that are not set.
const (
	DefaultState = "/var/lib/bootlace"
)

// Flags are the flags of `bootlace serve`. What is set there goes over the file.
type Flags struct {
	file  string
	check bool
	set   []func(*raw)
}

// Check reports whether --check was given: read the config and stop.
func (f *Flags) Check() bool { return f.check }

// Register adds the flags to a set.
func (f *Flags) Register(set *flag.FlagSet) {
	set.StringVar(&f.file, "config", "", "`FILE` with this configuration in YAML")
	set.BoolVar(&f.check, "check", false, "check the configuration and end")
	str := func(name, doc string, put func(*raw, string)) {
		set.Func(name, doc, func(v string) error {
			f.set = append(f.set, func(r *raw) { put(r, v) })
			return nil
		})
	}
	yes := func(name, doc string, put func(*raw)) {
		set.BoolFunc(name, doc, func(string) error {
			f.set = append(f.set, put)
			return nil
		})
	}
	first := true
	str("root", "`DIR` that is served", func(r *raw, v string) { r.Root = v })
	str("state", "`DIR` for leases and machines (default "+DefaultState+")", func(r *raw, v string) { r.State = v })
	str("interface", "serve on `IF` only; may be given several times", func(r *raw, v string) {
		if first {
			r.Interface, first = nil, false
		}
		r.Interface = append(r.Interface, v)
	})
	str("address", "`CIDR` to set on the interface, as firmware", func(r *raw, v string) { r.Address = v })
	str("dhcp", "`MODE`: proxy, full or off (default proxy)", func(r *raw, v string) { r.DHCP.Mode = v })
	str("pool", "addresses `A-B` to hand out with --dhcp full", func(r *raw, v string) { r.Pool = v })
	yes("force", "serve addresses although another DHCP server answers", func(r *raw) { r.Force = true })
	str("tftp", "`ADDR` to listen on, or off (default :69)", func(r *raw, v string) { r.TFTP.Listen = v })
	str("ftp", "`ADDR` to listen on, or off (default :21)", func(r *raw, v string) { r.FTP = v })
	str("http", "`ADDR` to listen on, or off (default :80)", func(r *raw, v string) { r.HTTP = v })
	str("advertise", "`ADDR` that devices are told (default: the interface's)", func(r *raw, v string) { r.Advertise = v })
	str("upload", "`DIR` that takes uploaded files (default: none are taken)", func(r *raw, v string) { r.Upload = v })
	yes("tftp-single-port", "answer all of TFTP from one port", func(r *raw) { r.SinglePort = true })
	str("ftp-passive", "TCP ports `A-B` for FTP's data connections", func(r *raw, v string) { r.Passive = v })
	str("flash", "every machine's disk gets `IMAGE`", func(r *raw, v string) { r.Flash = v })
	str("boot", "every machine boots `KERNEL,INITRD[,CMDLINE]`", func(r *raw, v string) { r.Boot = v })
	str("log", "`FORMAT`: text or json (default text)", func(r *raw, v string) { r.Log = v })
}

// SetDefaults puts values behind those of the file and the flags; the firmware
// names its store's folders so.
func (f *Flags) SetDefaults(file, root, state, log string) {
	if f.file == "" {
		f.file = file
	}
	f.set = append([]func(*raw){func(r *raw) {
		r.Root, r.State = root, state
		if r.Log == "" {
			r.Log = log
		}
	}}, f.set...)
}

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
