package config

import (
	"flag"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
)

// A key is one of bootlace.yaml. Most have a flag of `bootlace serve` of the
// same name, which goes over the file. A new key is a field of raw, a row of
// keys, and a field of the Config that its room reads.
type key struct {
	name  string
	doc   string                              // of the flag, "" where it has none
	flag  func(*raw, string)                  // takes the flag's value
	yes   bool                                // the flag takes no value
	typed func(d *decoder, r *raw, c *Config) // checks what was written, and puts it into the Config
}

// keys is the table, in the order in which mistakes are looked for.
var keys = []key{
	{name: "root", doc: "`DIR` that is served", flag: text(func(r *raw) *string { return &r.Root }), typed: (*decoder).root},
	{name: "log", doc: "`FORMAT`: text or json (default text)", flag: text(func(r *raw) *string { return &r.Log }), typed: func(d *decoder, r *raw, c *Config) {
		c.Log = or(r.Log, "text")
		d.oneOf("log", c.Log, "text", "json")
	}},
	{name: "state", doc: "`DIR` for leases and machines (default " + DefaultState + ")", flag: text(func(r *raw) *string { return &r.State }), typed: func(_ *decoder, r *raw, c *Config) {
		c.State = or(r.State, DefaultState)
	}},
	{name: "interface", doc: "serve on `IF` only; may be given several times", typed: func(_ *decoder, r *raw, c *Config) {
		c.Interface = r.Interface
	}},
	{name: "address", doc: "`CIDR` to set on the interface, as firmware", flag: text(func(r *raw) *string { return &r.Address }), typed: func(d *decoder, r *raw, c *Config) {
		c.Address = optional(d, "address", r.Address, netip.ParsePrefix, "an address with its prefix length, like 10.0.0.1/24")
	}},
	{name: "advertise", doc: "`ADDR` that devices are told (default: the interface's)", flag: text(func(r *raw) *string { return &r.Advertise }), typed: func(d *decoder, r *raw, c *Config) {
		c.Advertise = optional(d, "advertise", r.Advertise, netip.ParseAddr, "an address, like 10.0.0.1")
	}},
	{name: "tftp", doc: listenDoc("tftp"), flag: text(func(r *raw) *string { return &r.TFTP.Listen }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "tftp", r.TFTP.Listen)
		d.tftp(&r.TFTP, c)
	}},
	{name: "tftp-single-port", doc: "answer all of TFTP from one port", yes: true, flag: yes(func(r *raw) *bool { return &r.SinglePort }), typed: func(_ *decoder, r *raw, c *Config) {
		c.TFTP.SinglePort = r.SinglePort || r.TFTP.SinglePort
	}},
	{name: "ftp", doc: listenDoc("ftp"), flag: text(func(r *raw) *string { return &r.FTP }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "ftp", r.FTP)
	}},
	{name: "http", doc: listenDoc("http"), flag: text(func(r *raw) *string { return &r.HTTP }), typed: func(d *decoder, r *raw, c *Config) {
		d.listen(c, "http", r.HTTP)
	}},
	{name: "ftp-passive", doc: "TCP ports `A-B` for FTP's data connections", flag: text(func(r *raw) *string { return &r.Passive }), typed: func(d *decoder, r *raw, c *Config) {
		c.FTP = optional(d, "ftp-passive", r.Passive, parsePorts, "a range of ports, like 30000-30999")
	}},
	{name: "dhcp", doc: "`MODE`: proxy, full or off (default proxy)", flag: text(func(r *raw) *string { return &r.DHCP.Mode }), typed: (*decoder).dhcp},
	{name: "force", doc: "serve addresses although another DHCP server answers", yes: true, flag: yes(func(r *raw) *bool { return &r.Force }), typed: func(_ *decoder, r *raw, c *Config) {
		c.DHCP.Force = r.Force
	}},
	{name: "pool", doc: "addresses `A-B` to hand out with --dhcp full", flag: text(func(r *raw) *string { return &r.Pool }), typed: (*decoder).onePool},
	{name: "upload", doc: "`DIR` that takes uploaded files (default: none are taken)", flag: text(func(r *raw) *string { return &r.Upload }), typed: func(_ *decoder, r *raw, c *Config) {
		c.Upload = r.Upload
	}},
	{name: "images", typed: (*decoder).images},
	{name: "unknown", typed: func(d *decoder, r *raw, c *Config) {
		c.Unknown = boot.Action(or(r.Unknown, string(boot.ActionIgnore)))
		d.oneOf("unknown", string(c.Unknown), string(boot.ActionIgnore), string(boot.ActionWait))
	}},
	{name: "profiles", typed: (*decoder).profiles},
	{name: "flash", doc: "every machine's disk gets `IMAGE`", flag: text(func(r *raw) *string { return &r.Flash }), typed: (*decoder).oneProfile},
	{name: "boot", doc: "every machine boots `KERNEL,INITRD[,CMDLINE]`", flag: text(func(r *raw) *string { return &r.Boot })}, // with flash
}

// text and yes put a flag's value into a field.
func text(field func(*raw) *string) func(*raw, string) {
	return func(r *raw, v string) { *field(r) = v }
}

func yes(field func(*raw) *bool) func(*raw, string) {
	return func(r *raw, _ string) { *field(r) = true }
}

// listenDoc describes the flag of a protocol's address.
func listenDoc(name string) string {
	return "`ADDR` to listen on, or off (default " + defaultListen(name) + ")"
}

// raw is bootlace.yaml as it is written; typed turns it into a Config.
// A flag of `bootlace serve` has the same key.
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
		case k.yes:
			set.BoolFunc(k.name, k.doc, later)
		default:
			set.Func(k.name, k.doc, later)
		}
	}
}

// interfaceFlag takes the interfaces of several flags. The first goes over
// those of the file.
func interfaceFlag() func(*raw, string) {
	first := true
	return func(r *raw, v string) {
		if first {
			r.Interface, first = nil, false
		}
		r.Interface = append(r.Interface, v)
	}
}

// SetDefaults puts values behind those of the file and the flags. The firmware
// names the folders of its volume so.
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
