package config

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
)

// load writes text as bootlace.yaml beside a root, and loads it with flags.
func load(t *testing.T, text string, args ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"root", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.ReplaceAll(text, "DIR", dir)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", dir)
	}
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, "bootlace.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", filepath.Join(dir, "bootlace.yaml")}, args...)
	}
	var f Flags
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	f.Register(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Load()
}

const whole = `
root: DIR/root
state: DIR/state
address: 10.0.0.1/24
dhcp:
  mode: full
  subnets: [{net: 10.0.0.0/24, pool: 10.0.0.100-10.0.0.199, router: 10.0.0.1, dns: [10.0.0.1], lease: 2h}]
  hosts: [{mac: "52:54:00:12:34:56", ip: 10.0.0.10, name: dut1}]
images: {lab: {file: lab.raw.zst}}
profiles:
  - name: bench
    match: {mac: "52:54:00:12:34:*", board: qemu-x86_64}
    action: flash
    image: lab
    disk: {min: 1GiB, overwrite: true}
    transfer: {order: [tftp, ftp], tftp_max: 8MiB}
    on_failure: wait
    then: poweroff
  - name: live
    action: boot
    kernel: vmlinuz
    cmdline: console=ttyS0
`

func TestTFTP(t *testing.T) {
	base := "root: DIR/root\nstate: DIR/state\n"
	for text, want := range map[string]struct {
		listen string
		tftp.Config
	}{
		"":                            {listen: ":69"},
		"tftp: off\n":                 {},
		"tftp: :1069\n":               {listen: ":1069"},
		"tftp: {single_port: true}\n": {":69", tftp.Config{SinglePort: true}},
		"tftp: {single_port: false}\ntftp-single-port: true\n": {":69", tftp.Config{SinglePort: true}},
		"tftp: {listen: off}\n":                                {},
		"tftp:\n":                                              {listen: ":69"},
		"tftp: {listen: 127.0.0.1:69, blksize: 1024, windowsize: 16, fragments: true, rollover: 1, transfers: 9, per_client: 8, half_open: 7}\n": {
			"127.0.0.1:69", tftp.Config{Fragments: true, RollToOne: true,
				Limits: tftp.Limits{Blksize: 1024, Windowsize: 16, Transfers: 9, PerClient: 8, HalfOpen: 7}},
		},
	} {
		t.Run(text, func(t *testing.T) {
			c, err := load(t, base+text)
			if err != nil {
				t.Fatal(err)
			}
			if c.Listen["tftp"] != want.listen || c.TFTP != want.Config {
				t.Errorf("%q, %+v", c.Listen["tftp"], c.TFTP)
			}
		})
	}
	if c, err := load(t, base+"tftp: {listen: ':69', windowsize: 4}\n", "--tftp", ":70"); err != nil || c.Listen["tftp"] != ":70" || c.TFTP.Limits.Windowsize != 4 {
		t.Errorf("flag over file: %+v, %v", c, err)
	}
}

// Each field of raw has a row in keys. Each protocol has a key for its address.
func TestKeys(t *testing.T) {
	fields := reflect.TypeFor[raw]()
	names := map[string]bool{}
	for _, k := range keys {
		names[k.name] = true
		if field, _ := fieldOf(fields, k.name); field == nil {
			t.Errorf("%s is no key of the file", k.name)
		}
		if k.doc != "" && k.flag == nil && k.name != "interface" {
			t.Errorf("the flag %s goes nowhere", k.name)
		}
	}
	for i := range fields.NumField() {
		if name := fields.Field(i).Tag.Get("yaml"); !names[name] {
			t.Errorf("the key %s is in no row", name)
		}
	}
	c, err := load(t, "root: DIR/root\nstate: DIR/state\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range boot.Protocols {
		if !names[p.Name] || c.Listen[p.Name] != fmt.Sprintf(":%d", p.Port) {
			t.Errorf("%s listens on %q by default", p.Name, c.Listen[p.Name])
		}
	}
}

func TestLoad(t *testing.T) {
	c, err := load(t, whole, "--http", "off", "--interface", "eth1", "--interface", "eth2")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen["http"] != "" || c.Listen["tftp"] != ":69" || len(c.Interface) != 2 || c.Interface[1] != "eth2" {
		t.Errorf("flags: http %q, tftp %q, interface %q", c.Listen["http"], c.Listen["tftp"], c.Interface)
	}
	s := c.Leases.Subnets[0]
	if s.PoolFrom != netip.MustParseAddr("10.0.0.100") || s.Lease != 2*time.Hour || len(s.DNS) != 1 {
		t.Errorf("subnet %+v", s)
	}
	p := c.Profiles[0]
	if p.Disk.Min != 1<<30 || !p.Disk.Overwrite || p.Transfer.TFTPMax != 8<<20 || p.Then != boot.Poweroff || p.OnFailure != boot.Wait {
		t.Errorf("profile %+v", p)
	}
	if im, ok := p.Image("qemu-x86_64"); !ok || im != "lab" {
		t.Errorf("image %q, %v", im, ok)
	}
	if c.Profiles[1].Then != boot.Reboot || c.Profiles[1].OnFailure != boot.Retry || c.Profiles[1].Transfer.TFTPMax != 16<<20 {
		t.Errorf("defaults %+v", c.Profiles[1])
	}
}

func TestOneLineStart(t *testing.T) {
	c, err := load(t, "", "--root", "DIR/root", "--boot", "vmlinuz,initrd.img,console=ttyS0,115200 quiet")
	if err != nil {
		t.Fatal(err)
	}
	p := c.Profiles[0]
	if p.Kernel != "vmlinuz" || p.Initrd != "initrd.img" || p.Cmdline != "console=ttyS0,115200 quiet" {
		t.Errorf("profile %+v", p)
	}
	if !p.Match.Matches(boot.Facts{}) {
		t.Error("the one profile does not match every machine")
	}
	if c.DHCP.Mode != dhcp.Proxy || c.State != DefaultState {
		t.Errorf("defaults: %q %q", c.DHCP.Mode, c.State)
	}
}

// IPv6 subnets are apart from IPv4 ones.
func TestIPv6(t *testing.T) {
	c, err := load(t, "root: DIR/root\nstate: DIR/state\npool: 10.0.0.1-10.0.0.9\ndhcp:\n  mode: full\n  subnets: [{net: 'fd00:77::1/64', pool: 'fd00:77::100-fd00:77::1ff', dns: 'fd00:77::1'}]\n"+
		"profiles: [{name: a, action: boot, kernel: k, match: {arch: 'a*'}}, {name: b, action: boot, kernel: k}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Leases.Subnets) != 1 || len(c.Leases.Subnets6) != 1 {
		t.Fatalf("%d networks of IPv4, %d of IPv6", len(c.Leases.Subnets), len(c.Leases.Subnets6))
	}
	if n := c.Leases.Subnets6[0]; n.Prefix.String() != "fd00:77::/64" || n.PoolTo.String() != "fd00:77::1ff" || len(n.DNS) != 1 || n.Lease != lease.DefaultTiming.Lease {
		t.Errorf("%+v", n)
	}
}

// An error names the key, the line and what would be right.
func TestMistakes(t *testing.T) {
	base := "root: DIR/root\nstate: DIR/state\n"
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", base + "tfpt: off\n", "line 3: tfpt: unknown key; known here: root, state"},
		{"unknown nested key", base + "dhcp:\n  mod: full\n", "line 4: dhcp.mod: unknown key; known here: mode, subnets, hosts"},
		{"unknown key in a list", base + "profiles:\n- name: a\n  actoin: wait\n", "line 5: profiles[0].actoin: unknown key"},
		{"overwrite in the wrong place", base + "profiles:\n- name: a\n  overwrite: true\n", "it belongs under disk"},
		{"key set twice", base + "state: DIR/x\n", "line 3: mapping key \"state\" already defined"},
		{"no mapping", "hello\n", "line 1: want keys and values"},
		{"bad indentation", base + "dhcp:\n mode: full\n\tx: y\n", "line 4: found a tab character"},
		{"wrong type", base + "profiles: 7\n", "line 3: profiles: want a list"},
		{"no root", "state: DIR/state\n", "root: not set; --root DIR names the folder to serve"},
		{"root missing", "root: DIR/nothing\nstate: DIR/state\n", "line 1: root: no such file or directory"},
		{"state in root", "root: DIR/root\nstate: DIR/root/state\n", "lies inside"},
		{"config in root", "root: DIR\nstate: /nonexistent/state\n", "lies inside"},
		{"upload is root", base + "upload: DIR/root\n", "they must be apart"},
		{"mode", base + "dhcp: {mode: fully}\n", `line 3: dhcp.mode: "fully" is not one of proxy, full, off`},
		{"pool", base + "pool: 10.0.0.9\n", `line 3: pool: "10.0.0.9" is not a range of addresses`},
		{"pool backwards", base + "pool: 10.0.0.9-10.0.0.1\n", "ends before it begins"},
		{"pool outside", base + "dhcp:\n  mode: full\n  subnets:\n  - net: 10.0.0.0/24\n    pool: 10.0.1.1-10.0.1.9\n", `line 7: dhcp.subnets[0].pool: "10.0.1.1-10.0.1.9" is not inside 10.0.0.0/24`},
		{"host mac", base + "dhcp:\n  hosts:\n  - mac: zz\n    ip: 10.0.0.1\n", `line 5: dhcp.hosts[0].mac: "zz" is not a MAC address`},
		{"listen", base + "tftp: 69\n", `line 3: tftp: "69" is not an address to listen on`},
		{"tftp", base + "tftp: [1]\n", "line 3: tftp: want an address, or keys and values"},
		{"tftp key", base + "tftp: {blocksize: 512}\n", "line 3: tftp.blocksize: unknown key; known here: listen, single_port, blksize"},
		{"tftp listen", base + "tftp:\n  listen: 69\n", `line 4: tftp: "69" is not an address to listen on`},
		{"blksize", base + "tftp: {blksize: 7}\n", `line 3: tftp.blksize: "7" is not a number from 8 to 65464`},
		{"windowsize", base + "tftp: {windowsize: 65536}\n", `line 3: tftp.windowsize: "65536" is not a number from 1 to 65535`},
		{"half_open", base + "tftp:\n  transfers: 5\n  half_open: none\n", `line 5: tftp.half_open: "none" is not a number from 1`},
		{"fragments", base + "tftp: {fragments: [yes]}\n", "line 3: tftp.fragments: want one value"},
		{"rollover", base + "tftp:\n  rollover: 2\n", `line 4: tftp.rollover: "2" is not a number from 0 to 1`},
		{"action", base + "profiles: [{name: a, action: erase}]\n", `"erase" is not one of`},
		{"no image", base + "profiles: [{name: a, action: flash}]\n", "image: not set"},
		{"no kernel", base + "profiles: [{name: a, action: boot}]\n", "kernel: not set"},
		{"two of a name", base + "profiles: [{name: a, action: wait}, {name: a, action: wait}]\n", "name of an earlier profile"},
		{"kexec by board", base + "profiles: [{name: a, action: boot, kernel: k, match: {board: [qemu-x86_64, armv7]}}]\n", "line 3: profiles[0].match: action boot needs kexec, which 32-bit ARM (armv7) does not have"},
		{"kexec by architecture", base + "profiles: [{name: a, action: boot, kernel: k, match: {arch: arm}}]\n", "action boot needs kexec, which 32-bit ARM"},
		{"IPv6 pool", base + "dhcp:\n  subnets:\n  - net: fd00:77::/64\n    pool: fd00:77::1-fd00:77::1:ffff\n", `line 6: dhcp.subnets[0].pool: want addresses that differ after their last colon only`},
		{"IPv6 pool outside", base + "dhcp: {subnets: [{net: 'fd00:77::/64', pool: 'fd00:78::1-fd00:78::2'}]}\n", `"fd00:78::1-fd00:78::2" is not inside fd00:77::/64`},
		{"IPv6 without a pool", base + "dhcp: {subnets: [{net: 'fd00:77::/64'}]}\n", "dhcp.subnets[0]: pool: not set"},
		{"IPv6 router", base + "dhcp: {subnets: [{net: 'fd00:77::/64', pool: 'fd00:77::1-fd00:77::2', router: 'fd00:77::1'}]}\n", "dhcp.subnets[0].router: IPv6 machines hear of their router"},
		{"IPv6 DNS", base + "dhcp: {subnets: [{net: 'fd00:77::/64', pool: 'fd00:77::1-fd00:77::2', dns: 10.0.0.1}]}\n", "dhcp.subnets[0].dns: 10.0.0.1 is not an IPv6 address"},
		{"IPv6 link-local", base + "dhcp: {subnets: [{net: 'fe80::/64', pool: 'fe80::1-fe80::2'}]}\n", "fe80::/64 is no network"},
		{"IPv6 by flag", base + "pool: 'fd00:77::1-fd00:77::2'\n", "pool: IPv6 addresses belong under dhcp.subnets"},
		{"pool of both", base + "pool: '10.0.0.1-fd00:77::2'\n", "is not a range of addresses"},
		{"board", base + "profiles: [{name: a, action: wait, match: {board: toaster}}]\n", "is no board; `mkboot boards` lists them"},
		{"overwrite for all", base + "profiles: [{name: a, action: flash, image: i, disk: {overwrite: true}}]\n", "disk.overwrite: true in a profile that does not match by mac, uuid or serial"},
		{"overwrite for all by a wildcard", base + "profiles: [{name: a, action: flash, image: i, match: {mac: '*'}, disk: {overwrite: true}}]\n", "does not match by mac, uuid or serial"},
		{"overwrite for all by a class", base + "profiles: [{name: a, action: flash, image: i, match: {mac: '[0-9a-f]*'}, disk: {overwrite: true}}]\n", "does not match by mac, uuid or serial"},
		{"mac", base + "profiles: [{name: a, action: wait, match: {mac: zz}}]\n", `line 3: profiles[0].match.mac: "zz" is not a MAC address`},
		{"mac pattern", base + "profiles: [{name: a, action: wait, match: {mac: 'qemu*'}}]\n", "is not a pattern of MAC addresses"},
		{"size", base + "profiles: [{name: a, action: flash, image: i, disk: {min: 1XB}}]\n", "is not a size"},
		{"order", base + "profiles: [{name: a, action: flash, image: i, transfer: {order: [scp]}}]\n", `"scp" is not one of tftp, ftp, http`},
		{"sha256", base + "images: {a: {file: a, sha256: 12}}\n", "want 64 hex digits"},
		{"lease", base + "dhcp:\n  subnets: [{net: 10.0.0.0/24, lease: 3}]\n", `"3" is not a time`},
		{"flash beside profiles", base + "flash: x\nprofiles: [{name: a, action: wait}]\n", "the one profile for every machine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.text)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant …%s…", err, test.want)
			}
			if strings.Contains(err.Error(), "config.raw") || strings.Contains(err.Error(), "into config") {
				t.Errorf("names a Go type: %v", err)
			}
		})
	}
}

func TestStateBehindLinkIntoRoot(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"root/inner", "x"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "root", "inner"), filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	_, err := load(t, "", "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state", "new"))
	if err == nil || !strings.Contains(err.Error(), "lies inside") {
		t.Errorf("got %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "512": 512, "1B": 1, "1KiB": 1024, "16MiB": 16 << 20, "2GB": 2e9, "1 GiB": 1 << 30, "3TiB": 3 << 40} {
		t.Run(text, func(t *testing.T) {
			if got, err := ParseSize(text); err != nil || got != want {
				t.Errorf("%q: %d, %v; want %d", text, got, err, want)
			}
		})
	}
	for _, text := range []string{"", "x", "-1", "1iB", "1XB", "1MMB", "9999999TiB", "1.5GiB"} {
		t.Run("not "+text, func(t *testing.T) {
			if got, err := ParseSize(text); err == nil {
				t.Errorf("%q: %d, want an error", text, got)
			}
		})
	}
}
