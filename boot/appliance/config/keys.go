package config

import (
	"cmp"
	"flag"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
)

// A key is a key of bootlace.yaml. Most keys have a flag of the same name,
// which goes over the file. A new key needs a field of raw, a row of keys, and
// a field of Config.
type key struct {
	name   string
	doc    string                              // of the flag, "" where the key has none
	flag   func(*raw, string)                  // stores the flag's value
	isBool bool                                // the flag is a bool
	typed  func(d *decoder, r *raw, c *Config) // checks the raw value and stores it in the Config
}

// keys has a row for each key. Mistakes are looked for in this order.
var keys = []key{
	{name: "root", doc: "`DIR` that is served", flag: stringFlag(func(r *raw) *string { return &r.Root }), typed: (*decoder).root},
	{name: "log", doc: "`FORMAT`: text or json (default text)", flag: stringFlag(func(r *raw) *string { return &r.Log }), typed: func(d *decoder, r *raw, c *Config) {
		c.Log = cmp.Or(r.Log, "text")
		oneOf(d, "log", c.Log, "text", "json")
	}},
	{name: "state", doc: "`DIR` for leases and machines (default " + DefaultState + ")", flag: stringFlag(func(r *raw) *string { return &r.State }), typed: func(_ *decoder, r *raw, c *Config) {
		c.State = cmp.Or(r.State, DefaultState)
	}},
	{name: "interface", doc: "serve on `IF` only; may be given several times", typed: func(_ *decoder, r *raw, c *Config) {
		c.Interface = r.Interface
	}},
	{name: "address", doc: "`CIDR` to set on the interface, as firmware", flag: stringFlag(func(r *raw) *string { return &r.Address }), typed: func(d *decoder, r *raw, c *Config) {
		c.Address = optional(d, "address", r.Address, netip.ParsePrefix, "an address with its prefix length, like 10.0.0.1/24")
	}},
	{name: "advertise", doc: "`ADDR` that devices are told (default: the interface's)", flag: stringFlag(func(r *raw) *string { return &r.Advertise }), typed: func(d *decoder, r *raw, c *Config) {
		c.Advertise = optional(d, "advertise", r.Advertise, netip.ParseAddr, "an address, like 10.0.0.1")
	}},
	{name: "tftp", doc: listenDoc("tftp"), flag: stringFlag(func(r *raw) *string { return &r.TFTP.Listen }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "tftp", r.TFTP.Listen)
		d.tftp(&r.TFTP, c)
	}},
	{name: "tftp-single-port", doc: "answer all of TFTP from one port", isBool: true, flag: boolFlag(func(r *raw) *bool { return &r.SinglePort }), typed: func(_ *decoder, r *raw, c *Config) {
		c.TFTP.SinglePort = r.SinglePort || r.TFTP.SinglePort
	}},
	{name: "ftp", doc: listenDoc("ftp"), flag: stringFlag(func(r *raw) *string { return &r.FTP }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "ftp", r.FTP)
	}},
	{name: "http", doc: listenDoc("http"), flag: stringFlag(func(r *raw) *string { return &r.HTTP }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "http", r.HTTP)
	}},
	{name: "ftp-passive", doc: "TCP ports `A-B` for FTP's data connections", flag: stringFlag(func(r *raw) *string { return &r.Passive }), typed: func(d *decoder, r *raw, c *Config) {
		c.FTP = optional(d, "ftp-passive", r.Passive, parsePorts, "a range of ports, like 30000-30999")
	}},
	{name: "dhcp", doc: "`MODE`: proxy, full or off (default proxy)", flag: stringFlag(func(r *raw) *string { return &r.DHCP.Mode }), typed: (*decoder).dhcp},
	{name: "force", doc: "serve addresses although another DHCP server answers", isBool: true, flag: boolFlag(func(r *raw) *bool { return &r.Force }), typed: func(_ *decoder, r *raw, c *Config) {
		c.DHCP.Force = r.Force
	}},
	{name: "pool", doc: "addresses `A-B` to hand out with --dhcp full", flag: stringFlag(func(r *raw) *string { return &r.Pool }), typed: (*decoder).poolFlag},
	{name: "upload", doc: "`DIR` that takes uploaded files (default: none are taken)", flag: stringFlag(func(r *raw) *string { return &r.Upload }), typed: func(_ *decoder, r *raw, c *Config) {
		c.Upload = r.Upload
	}},
	{name: "images", typed: (*decoder).images},
	{name: "unknown", typed: func(d *decoder, r *raw, c *Config) {
		c.Unknown = boot.Action(cmp.Or(r.Unknown, string(boot.ActionIgnore)))
		oneOf(d, "unknown", c.Unknown, boot.ActionIgnore, boot.ActionWait)
	}},
	{name: "profiles", typed: (*decoder).profiles},
	{name: "flash", doc: "every machine's disk gets `IMAGE`", flag: stringFlag(func(r *raw) *string { return &r.Flash }), typed: (*decoder).profileFlag},
	{name: "boot", doc: "every machine boots `KERNEL,INITRD[,CMDLINE]`", flag: stringFlag(func(r *raw) *string { return &r.Boot })}, // checked with flash
}

// stringFlag stores a flag's value in a string.
func stringFlag(field func(*raw) *string) func(*raw, string) {
	return func(r *raw, v string) { *field(r) = v }
}

func boolFlag(field func(*raw) *bool) func(*raw, string) {
	return func(r *raw, _ string) { *field(r) = true }
}

// listenDoc describes the flag of a protocol's address.
func listenDoc(name string) string {
	return "`ADDR` to listen on, or off (default " + defaultListen(name) + ")"
}

// raw is bootlace.yaml as it is written. typed turns it into a Config.
type raw struct {
	Root       string              `yaml:"root"`
	State      string              `yaml:"state"`
	Interface  list                `yaml:"interface"`
	Address    string              `yaml:"address"`
	DHCP       rawDHCP             `yaml:"dhcp"`
	Pool       string              `yaml:"pool"`
	Force      bool                `yaml:"force"`
	TFTP       rawTFTP             `yaml:"tftp"`
	FTP        string              `yaml:"ftp"`
	HTTP       string              `yaml:"http"`
	Advertise  string              `yaml:"advertise"`
	Upload     string              `yaml:"upload"`
	SinglePort bool                `yaml:"tftp-single-port"`
	Passive    string              `yaml:"ftp-passive"`
	Flash      string              `yaml:"flash"`
	Boot       string              `yaml:"boot"`
	Log        string              `yaml:"log"`
	Images     map[string]rawImage `yaml:"images"`
	Profiles   []rawProfile        `yaml:"profiles"`
	Unknown    string              `yaml:"unknown"`
}

// Flags are the flags of `bootlace serve`. They go over the config file.
type Flags struct {
	file  string
	check bool
	set   []func(*raw)
}

// Check reports whether --check was given: check the config and end.
func (f *Flags) Check() bool { return f.check }

// Register adds the flags to a set.
func (f *Flags) Register(set *flag.FlagSet) {
	set.StringVar(&f.file, "config", "", "`FILE` with this configuration in YAML")
	set.BoolVar(&f.check, "check", false, "check the configuration and end")
	for _, k := range keys {
		take := k.flag
		if k.name == "interface" {
			take = interfaceFlag()
		}
		later := func(v string) error {
			f.set = append(f.set, func(r *raw) { take(r, v) })
			return nil
		}
		switch {
		case k.doc == "":
		case k.isBool:
			set.BoolFunc(k.name, k.doc, later)
		default:
			set.Func(k.name, k.doc, later)
		}
	}
}

// interfaceFlag collects the interfaces of several flags. The first flag
// replaces those of the file.
func interfaceFlag() func(*raw, string) {
	first := true
	return func(r *raw, v string) {
		if first {
			r.Interface, first = nil, false
		}
		r.Interface = append(r.Interface, v)
	}
}

// SetDefaults sets values that the file and the flags go over. Our firmware
// sets the folders of its volume.
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
