package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

// folder makes a folder with a root and text as its bootlace.yaml.
func folder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"root", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bootlace.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Each value that cannot be meant: its key, its line, and what would be right.
func TestWrongValues(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"log", "log: xml\n", `line 3: log: "xml" is not one of text, json`},
		{"interface", "interface: {name: eth0}\n", "line 3: interface: want one value, or several in brackets"},
		{"address without its length", "address: 10.0.0.1\n", `line 3: address: "10.0.0.1" is not an address with its prefix length, like 10.0.0.1/24`},
		{"advertise", "advertise: bench.lan\n", `line 3: advertise: "bench.lan" is not an address, like 10.0.0.1`},
		{"ftp", "ftp: 21\n", `line 3: ftp: "21" is not an address to listen on, like :69 or 10.0.0.1:69, or off`},
		{"http port", "http: ':99999'\n", `line 3: http: ":99999" is not an address to listen on`},
		{"passive ports", "ftp-passive: 30000\n", `line 3: ftp-passive: "30000" is not a range of ports, like 30000-30999`},
		{"passive ports backwards", "ftp-passive: 31000-30000\n", "is not a range of ports"},
		{"unknown", "unknown: flash\n", `line 3: unknown: "flash" is not one of ignore, wait`},
		{"force", "force: maybe\n", "line 3: cannot unmarshal"},
		{"subnet", "dhcp:\n  subnets:\n  - pool: 10.0.0.1-10.0.0.2\n", `line 5: dhcp.subnets[0].net: "" is not a network, like 10.0.0.0/24`},
		{"second subnet", "dhcp:\n  subnets:\n  - net: 10.0.0.0/24\n  - net: 10.0.1.0\n", `line 6: dhcp.subnets[1].net: "10.0.1.0" is not a network`},
		{"router", "dhcp: {subnets: [{net: 10.0.0.0/24, router: none}]}\n", `line 3: dhcp.subnets[0].router: "none" is not an address`},
		{"dns", "dhcp:\n  subnets:\n  - net: 10.0.0.0/24\n    dns: [10.0.0.1, x]\n", `line 6: dhcp.subnets[0].dns: "x" is not an address`},
		{"host address", "dhcp:\n  hosts:\n  - mac: 52:54:00:12:34:56\n    ip: bench\n", `line 6: dhcp.hosts[0].ip: "bench" is not an address, like 10.0.0.10`},
		{"pool beside subnets", "pool: 10.0.0.1-10.0.0.2\ndhcp: {subnets: [{net: 10.0.0.0/24}]}\n", "line 3: pool: set beside dhcp.subnets; give each subnet its pool there"},
		{"image without a file", "images: {a: {}}\n", "line 3: images.a: file: not set; it names the image under the root"},
		{"image as one value", "images: {a: a.raw}\n", "line 3: images.a: want keys and values"},
		{"profile without a name", "profiles: [{action: wait}]\n", "line 3: profiles[0]: name: not set"},
		{"profile without an action", "profiles: [{name: a}]\n", `line 3: profiles[0]: action: "" is not one of`},
		{"then", "profiles: [{name: a, action: flash, image: i, then: dance}]\n", `line 3: profiles[0].then: "dance" is not one of`},
		{"on_failure", "profiles: [{name: a, action: flash, image: i, on_failure: dance}]\n", `line 3: profiles[0].on_failure: "dance" is not one of`},
		{"image where none is taken", "profiles: [{name: a, action: wait, image: i}]\n", "line 3: profiles[0].image: action wait takes no image"},
		{"image for no board", "profiles: [{name: a, action: flash, image: {toaster: i}}]\n", "line 3: profiles[0].image.toaster: \"toaster\" is no board; `mkboot boards` lists them"},
		{"images as a list", "profiles: [{name: a, action: flash, image: [i, j]}]\n", "line 3: profiles[0].image: want one value, or a map from board to value"},
		{"disk model", "profiles: [{name: a, action: flash, image: i, disk: {model: '[x'}}]\n", `line 3: profiles[0].disk.model: "[x" is not a pattern`},
		{"largest disk", "profiles: [{name: a, action: flash, image: i, disk: {max: big}}]\n", `line 3: profiles[0].disk.max: "big" is not a size, like 512MiB or 2GiB`},
		{"tftp_max", "profiles: [{name: a, action: flash, image: i, transfer: {tftp_max: 1.5MiB}}]\n", `line 3: profiles[0].transfer.tftp_max: "1.5MiB" is not a size`},
		{"uuid", "profiles: [{name: a, action: wait, match: {uuid: 7}}]\n", `line 3: profiles[0].match.uuid: "7" is not a UUID, as dmidecode prints it`},
		{"serial pattern", "profiles:\n- name: a\n  action: wait\n  match:\n    serial: '[x'\n", `line 7: profiles[0].match.serial: "[x" is not a pattern`},
		{"circuit pattern", "profiles: [{name: a, action: wait, match: {circuit: '[x'}}]\n", `line 3: profiles[0].match.circuit: "[x" is not a pattern`},
		{"flash and boot", "flash: a\nboot: k\n", "line 3: flash: --flash or --boot is the one profile for every machine"},
		{"match key of a profile", "profiles: [{name: a, mac: x}]\n", "line 3: profiles[0].mac: unknown key; known here: name, match"},
		{"key of an image", "images: &i {a: {fiel: x}}\nprofiles: []\n", "line 3: images.a.fiel: unknown key; known here: file, sha256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, base+tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant …%s…", err, tt.want)
			}
		})
	}
}

// A mistake in a flag says that it is in the flags, and the file's lines are
// not named for what the flags said.
func TestWrongFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no root", nil, "flags: root: not set; --root DIR names the folder to serve"},
		{"root that is a file", []string{"--root", "/proc/version"}, "flags: root: /proc/version is not a folder"},
		{"pool", []string{"--root", "DIR/root", "--pool", "x"}, `flags: pool: "x" is not a range of addresses, like 10.0.0.100-10.0.0.199`},
		{"mode", []string{"--root", "DIR/root", "--dhcp", "on"}, `flags: dhcp.mode: "on" is not one of proxy, full, off`},
		{"state in the root", []string{"--root", "DIR/root", "--state", "DIR/root"}, "they must be apart"},
		{"upload in the state", []string{"--root", "DIR/root", "--state", "DIR/s", "--upload", "DIR/s/up"}, "flags: upload: "},
		{"flash and boot", []string{"--root", "DIR/root", "--flash", "a", "--boot", "k"}, "flags: flash: --flash or --boot is the one profile"},
		{"a file that is not there", []string{"--root", "DIR/root", "--config", "DIR/none"}, "read config: open "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, "", tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "line ") {
				t.Errorf("got  %v\nwant …%s…", err, tt.want)
			}
		})
	}
}

func TestLineOf(t *testing.T) {
	const text = `root: /srv
dhcp:
  mode: full
  hosts:
  - mac: a
    ip: b
  - {mac: c,
     ip: d}
profiles: &p
- name: x
images: {}
`
	var r raw
	doc, err := decode([]byte(text), &r)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"root": 1, "dhcp.mode": 3, "dhcp.hosts": 5, "dhcp.hosts[0].ip": 6, "dhcp.hosts[1].mac": 7, "dhcp.hosts[1].ip": 8, "profiles[0].name": 10,
		"dhcp.subnets[3].net": 3, // not written: what is above it
		"profiles[7].name":    9, // where the list is named
		"unknown":             1,
		"":                    1,
	} {
		t.Run(path, func(t *testing.T) {
			if got := lineOf(doc, path); got != want {
				t.Errorf("line %d, want %d", got, want)
			}
		})
	}
	if got := lineOf(nil, "root"); got != 0 {
		t.Errorf("without a file: line %d", got)
	}
}

func TestParsePorts(t *testing.T) {
	for text, want := range map[string][2]uint16{"1-65535": {1, 65535}, "30000-30000": {30000, 30000}} {
		t.Run(text, func(t *testing.T) {
			if got, err := parsePorts(text); err != nil || got.PassiveFrom != want[0] || got.PassiveTo != want[1] {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	for _, text := range []string{"", "-", "0-1", "2-1", "1", "1-65536", "a-b", "1-2-3", " 1-2", "-1-2"} {
		t.Run(strconv.Quote(text), func(t *testing.T) {
			if got, err := parsePorts(text); err == nil {
				t.Errorf("%+v, want an error", got)
			}
		})
	}
}

// FuzzLoad holds what every text promises: a Config that keeps its rules, or an
// error that names a line of the text and no Go type.
func FuzzLoad(f *testing.F) {
	f.Add(whole)
	f.Add("a: &x [*x]\n")
	f.Add("profiles: [{image: {a: b}}]")
	f.Add("root: r\ntftp: {blksize: 7}\n")
	f.Add("root: r\ndhcp: {subnets: [{net: 'fd00::/64', pool: 'fd00::1-fd00::2', lease: 1h}]}\n")
	f.Add("root: r\nprofiles: [{name: a, action: flash, image: i, match: {mac: '[^:]*'}, disk: {overwrite: true}}]\n")
	f.Add("? {root: x}\n: y\n")
	f.Add("root: !!binary aGk=\nforce: !!str yes\n")
	f.Fuzz(func(t *testing.T, text string) {
		var r raw
		doc, err := decode([]byte(text), &r)
		if err != nil {
			return
		}
		c, err := r.typed()
		if err != nil {
			key, ok := err.(*keyError)
			if !ok || key.key == "" || strings.Contains(err.Error(), "config.") {
				t.Fatalf("error %v", err)
			}
			if line := lineOf(doc, key.key); line < 0 || line > 1+strings.Count(text, "\n")+strings.Count(text, "\r")+strings.Count(text, "\u0085")+strings.Count(text, "\u2028")+strings.Count(text, "\u2029") {
				t.Errorf("%v is in line %d", err, line)
			}
			return
		}
		for i, p := range c.Profiles {
			if p.Name == "" || slices.IndexFunc(c.Profiles, func(o *boot.Profile) bool { return o.Name == p.Name }) != i {
				t.Errorf("profile %d is named %q", i, p.Name)
			}
			if p.Disk.Overwrite && !p.Match.Specific() {
				t.Errorf("%q may wipe the disk of any machine: %+v", p.Name, p.Match)
			}
			if p.Transfer.TFTPMax < 0 || p.Disk.Min < 0 || p.Disk.Max < 0 {
				t.Errorf("%q has negative sizes", p.Name)
			}
		}
		for _, n := range append(slices.Clone(c.Leases.Subnets), c.Leases.Subnets6...) {
			if n.PoolFrom.IsValid() && (n.PoolTo.Less(n.PoolFrom) || n.Prefix.IsValid() && !n.Prefix.Contains(n.PoolTo)) {
				t.Errorf("subnet %+v", n)
			}
		}
		if len(c.Listen) != len(boot.Protocols) {
			t.Errorf("listens on %v", c.Listen)
		}
	})
}

// FuzzParseSize holds that a size is what its number and its unit say.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "512", "1KiB", "16 MiB", "9223372036854775807", "8388608TiB", "1 B", "+1", "1iB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(strconv.FormatInt(n, 10)); n < 0 || err != nil || again != n {
			t.Errorf("%q is %d, which is read as %d, %v", text, n, again, err)
		}
	})
}

// Every key of raw, at whatever depth, can be told from a mistake: no two keys
// of one level have one name, and none is left without.
func TestRawKeysAreNamed(t *testing.T) {
	var walk func(t *testing.T, typ reflect.Type, path string)
	walk = func(t *testing.T, typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Slice, reflect.Map:
			walk(t, typ.Elem(), path)
		case reflect.Struct:
			seen := map[string]bool{}
			for i := range typ.NumField() {
				name := typ.Field(i).Tag.Get("yaml")
				if name == "" || seen[name] {
					t.Errorf("%s: field %s has the key %q", path, typ.Field(i).Name, name)
				}
				seen[name] = true
				walk(t, typ.Field(i).Type, keyPath(path, name))
			}
		}
	}
	walk(t, reflect.TypeFor[raw](), "")
}
