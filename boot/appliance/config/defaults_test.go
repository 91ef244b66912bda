package config

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
)

// base is the least that a file must say in these tests.
const base = "root: DIR/root\nstate: DIR/state\n"

// What holds where the file says nothing.
func TestDefaults(t *testing.T) {
	c, err := load(t, "root: DIR/root\n"+`
dhcp: {subnets: [{net: 10.0.0.0/24}]}
profiles: [{name: a, action: flash, image: i}]
`)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Profiles[0]
	for _, tt := range []struct {
		key       string
		got, want any
	}{
		{"state", c.State, "/var/lib/bootlace"},
		{"log", c.Log, "text"},
		{"interface", len(c.Interface), 0},
		{"address", c.Address.IsValid(), false},
		{"advertise", c.Advertise.IsValid(), false},
		{"upload", c.Upload, ""},
		{"unknown", c.Unknown, boot.ActionIgnore},
		{"tftp", c.Listen["tftp"], ":69"},
		{"tftp settings", c.TFTP, tftp.Config{}},
		{"ftp", c.Listen["ftp"], ":21"},
		{"ftp-passive", c.FTP, ftp.Config{}},
		{"http", c.Listen["http"], ":80"},
		{"dhcp.mode", c.DHCP.Mode, dhcp.Proxy},
		{"force", c.DHCP.Force, false},
		{"dhcp.hosts", len(c.Leases.Hosts), 0},
		{"dhcp.subnets[0].pool", c.Leases.Subnets[0].PoolFrom.IsValid(), false},
		{"dhcp.subnets[0].router", c.Leases.Subnets[0].Router.IsValid(), false},
		{"dhcp.subnets[0].lease", c.Leases.Subnets[0].Lease, lease.DefaultTiming.Lease},
		{"images", len(c.Images), 0},
		{"profiles[0].match", reflect.DeepEqual(p.Match, boot.Match{}), true},
		{"profiles[0].disk", p.Disk, boot.Disk{}},
		{"profiles[0].then", p.Then, boot.Reboot},
		{"profiles[0].on_failure", p.OnFailure, boot.Retry},
		{"profiles[0].transfer.order", fmt.Sprint(p.Transfer.Order), fmt.Sprint(boot.DefaultTransfer.Order)},
		{"profiles[0].transfer.tftp_max", p.Transfer.TFTPMax, int64(16 << 20)},
	} {
		t.Run(tt.key, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("%v, want %v", tt.got, tt.want)
			}
		})
	}
}

// Every flag goes over the same key of the file.
func TestFlagsOverFile(t *testing.T) {
	rows := map[string]struct {
		file  string // lines of the file, beside root and state
		flag  string // value of the flag
		value func(*Config) any
		want  any // "DIR" stands for the test's folder, see value
	}{
		"root":             {"", "DIR/other", func(c *Config) any { return c.Root[len(c.Root)-len("/other"):] }, "/other"},
		"log":              {"log: text", "json", func(c *Config) any { return c.Log }, "json"},
		"state":            {"", "DIR/elsewhere", func(c *Config) any { return c.State[len(c.State)-len("/elsewhere"):] }, "/elsewhere"},
		"interface":        {"interface: [eth0, eth1]", "eth2", func(c *Config) any { return fmt.Sprint(c.Interface) }, "[eth2]"},
		"address":          {"address: 10.0.0.1/24", "10.0.0.2/16", func(c *Config) any { return c.Address.String() }, "10.0.0.2/16"},
		"advertise":        {"advertise: 10.0.0.1", "10.0.0.2", func(c *Config) any { return c.Advertise.String() }, "10.0.0.2"},
		"tftp":             {"tftp: {listen: ':1', blksize: 512}", ":2", func(c *Config) any { return fmt.Sprint(c.Listen["tftp"], c.TFTP.Limits.Blksize) }, ":2512"},
		"tftp-single-port": {"tftp: {single_port: false}", "", func(c *Config) any { return c.TFTP.SinglePort }, true},
		"ftp":              {"ftp: :1", "off", func(c *Config) any { return c.Listen["ftp"] }, ""},
		"http":             {"http: off", "127.0.0.1:8080", func(c *Config) any { return c.Listen["http"] }, "127.0.0.1:8080"},
		"ftp-passive":      {"ftp-passive: 1-2", "30000-30999", func(c *Config) any { return c.FTP }, ftp.Config{PassiveFrom: 30000, PassiveTo: 30999}},
		"dhcp":             {"dhcp: {mode: off, hosts: [{mac: '52:54:00:12:34:56', ip: 10.0.0.1}]}", "full", func(c *Config) any { return fmt.Sprint(c.DHCP.Mode, len(c.Leases.Hosts)) }, "full1"},
		"force":            {"force: false", "", func(c *Config) any { return c.DHCP.Force }, true},
		"pool":             {"pool: 10.0.0.1-10.0.0.2", "10.0.0.3-10.0.0.4", func(c *Config) any { return c.Leases.Subnets[0].PoolTo.String() }, "10.0.0.4"},
		"upload":           {"upload: DIR/a", "DIR/b", func(c *Config) any { return c.Upload[len(c.Upload)-len("/b"):] }, "/b"},
		"flash":            {"flash: a", "b", func(c *Config) any { im, _ := c.Profiles[0].Image("any"); return im }, "b"},
		"boot":             {"boot: k1,i1", "k2,i2,quiet", func(c *Config) any { return c.Profiles[0].Kernel + " " + c.Profiles[0].Cmdline }, "k2 quiet"},
	}
	for _, k := range keys {
		if k.doc == "" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			row, ok := rows[k.name]
			if !ok {
				t.Fatal("this flag has no row here")
			}
			args := []string{"--" + k.name}
			if !k.isBool {
				args = append(args, row.flag)
			}
			c, err := load(t, base+row.file+"\n", args...)
			if err != nil {
				t.Fatal(err)
			}
			if got := row.value(c); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// A mode is said by the file or by a flag, alone or with what hands out addresses.
func TestModes(t *testing.T) {
	for _, want := range []dhcp.Mode{dhcp.Proxy, dhcp.Full, dhcp.Off} {
		mode := string(want)
		t.Run(mode, func(t *testing.T) {
			for _, text := range []string{
				"dhcp: {mode: " + mode + "}\n",
				"dhcp:\n  mode: '" + mode + "'\n  subnets: [{net: 10.0.0.0/24, pool: 10.0.0.1-10.0.0.9}]\n",
			} {
				if c, err := load(t, base+text); err != nil || c.DHCP.Mode != want {
					t.Errorf("%s: %+v, %v", text, c, err)
				}
			}
			if c, err := load(t, "", "--root", "DIR/root", "--dhcp", mode, "--pool", "10.0.0.1-10.0.0.9"); err != nil || c.DHCP.Mode != want ||
				!reflect.DeepEqual(c.Leases.Subnets, []lease.Subnet{{PoolFrom: addr("10.0.0.1"), PoolTo: addr("10.0.0.9"), Lease: lease.DefaultTiming.Lease}}) {
				t.Errorf("by flags: %+v, %v", c, err)
			}
		})
	}
}

// What the firmware sets goes behind the flags, and over the file where that
// says other folders.
func TestSetDefaults(t *testing.T) {
	for _, tt := range []struct{ name, text, log string }{
		{"the file says nothing", "unknown: wait\n", "json"},
		{"the file says how to log", "log: text\n", "text"},
		{"the file names other folders", "root: /elsewhere\nstate: /elsewhere\nunknown: wait\n", "json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, tt.text)
			var f Flags
			f.SetDefaults(dir+"/bootlace.yaml", dir+"/root", dir+"/state", "json")
			c, err := f.Load()
			if err != nil {
				t.Fatal(err)
			}
			if c.File != dir+"/bootlace.yaml" || c.Root != dir+"/root" || c.State != dir+"/state" || c.Log != tt.log {
				t.Errorf("%+v", c)
			}
		})
	}
}

// An image is named by its key, or by its file under the root.
func TestImages(t *testing.T) {
	sum := "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
	c, err := load(t, base+"images: {lab: {file: lab.raw.zst, sha256: "+sum+"}, other: {file: other.raw}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Image{
		"lab":     {"lab.raw.zst", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		"other":   {File: "other.raw"},
		"a/b.raw": {File: "a/b.raw"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.Image(name); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
	if got, want := c.ImageFiles(), map[string]string{"lab": "lab.raw.zst", "other": "other.raw"}; !reflect.DeepEqual(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}
