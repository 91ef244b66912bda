package config

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/tftp"
)

// typed turns the raw values into a Config. It reads no file.
func (r *raw) typed() (*Config, error) {
	c := &Config{Listen: map[string]string{}, Images: map[string]Image{}}
	d := new(decoder)
	for _, k := range keys {
		if k.typed != nil && d.err == nil {
			k.typed(d, r, c)
		}
	}
	return c, d.err
}

func (d *decoder) root(r *raw, c *Config) {
	c.Root = r.Root
	if c.Root == "" {
		d.fail("root", errors.New("not set; --root DIR names the folder to serve"))
	}
}

func (d *decoder) images(r *raw, c *Config) {
	for name, image := range r.Images {
		key := "images." + name
		if image.File == "" {
			d.fail(key, errors.New("file: not set; it names the image under the root"))
		}
		if digest, err := hex.DecodeString(image.SHA256); image.SHA256 != "" && (err != nil || len(digest) != 32) {
			d.fail(key+".sha256", errors.New("want 64 hex digits"))
		}
		c.Images[name] = Image{File: image.File, SHA256: strings.ToLower(image.SHA256)}
	}
}

// A decoder keeps the first error.
type decoder struct{ err error }

func (d *decoder) fail(key string, err error) {
	if d.err == nil {
		d.err = &keyError{key, err}
	}
}

func oneOf[T ~string](d *decoder, key string, value T, want ...T) {
	if !slices.Contains(want, value) {
		choices := strings.Trim(fmt.Sprint(want), "[]")
		d.fail(key, fmt.Errorf("%q is not one of %s", value, strings.ReplaceAll(choices, " ", ", ")))
	}
}

// optional parses the value of a key that may be missing. Then it returns the
// zero value.
func optional[T any](d *decoder, key, text string, parse func(string) (T, error), want string) (v T) {
	if text == "" {
		return v
	}
	return value(d, key, text, parse, want)
}

// value parses text. The error says what would be right.
func value[T any](d *decoder, key, text string, parse func(string) (T, error), want string) T {
	v, err := parse(text)
	if err != nil {
		d.fail(key, fmt.Errorf("%q is not %s", text, want))
	}
	return v
}

// listen reads the address of a protocol's server.
func (d *decoder) listen(c *Config, proto, text string) {
	switch text {
	case "":
		c.Listen[proto] = defaultListen(proto)
		return
	case string(dhcp.Off):
		c.Listen[proto] = ""
		return
	}
	_, port, err := net.SplitHostPort(text)
	if n, nerr := strconv.Atoi(port); err != nil || nerr != nil || n < 0 || n > 65535 {
		d.fail(proto, fmt.Errorf("%q is not an address to listen on, like :69 or 10.0.0.1:69, or off", text))
	}
	c.Listen[proto] = text
}

// defaultListen returns the protocol's own port on every address.
func defaultListen(proto string) string {
	p, _ := boot.ProtocolByName(proto)
	return fmt.Sprintf(":%d", p.Port)
}

func (d *decoder) tftp(r *rawTFTP, c *Config) {
	count := func(key, text string, least, most int) int {
		if text == "" {
			return 0
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			d.fail("tftp."+key, fmt.Errorf("%q is not a number from %d to %d", text, least, most))
		}
		return n
	}
	const many = 1 << 20
	c.TFTP.Fragments = r.Fragments
	c.TFTP.RollToOne = count("rollover", r.Rollover, 0, 1) == 1
	c.TFTP.Limits = tftp.Limits{
		Blksize: count("blksize", r.Blksize, 8, 65464), Windowsize: count("windowsize", r.Windowsize, 1, 65535),
		Transfers: count("transfers", r.Transfers, 1, many), PerClient: count("per_client", r.PerClient, 1, many),
		HalfOpen: count("half_open", r.HalfOpen, 1, many),
	}
}

func (d *decoder) dhcp(r *raw, c *Config) {
	c.DHCP.Mode = cmp.Or(dhcp.Mode(r.DHCP.Mode), dhcp.Proxy)
	if err := c.DHCP.Check(); err != nil {
		d.fail("dhcp.mode", err)
	}
	for i, s := range r.DHCP.Subnets {
		key := fmt.Sprintf("dhcp.subnets[%d]", i)
		n := lease.Subnet{Lease: lease.DefaultTiming.Lease}
		n.Prefix = value(d, key+".net", s.Net, netip.ParsePrefix, "a network, like 10.0.0.0/24")
		isIPv6 := n.Prefix.Addr().Is6()
		n.Prefix = n.Prefix.Masked()
		if s.Pool != "" {
			n.PoolFrom, n.PoolTo = d.pool(key+".pool", s.Pool, n.Prefix)
		} else if isIPv6 {
			d.fail(key, errors.New("pool: not set; an IPv6 network needs one"))
		}
		switch {
		case s.Router != "" && isIPv6:
			d.fail(key+".router", errors.New("IPv6 machines hear of their router by its advertisements"))
		case s.Router != "":
			n.Router = value(d, key+".router", s.Router, netip.ParseAddr, "an address")
		}
		for _, a := range s.DNS {
			n.DNS = append(n.DNS, value(d, key+".dns", a, netip.ParseAddr, "an address"))
		}
		if s.Lease != "" {
			n.Lease = value(d, key+".lease", s.Lease, time.ParseDuration, "a time, like 1h or 90m")
		}
		if isIPv6 {
			if field, err := n.Check6(); err != nil {
				d.fail(key+"."+field, err)
			}
			c.Leases.Subnets6 = append(c.Leases.Subnets6, n)
			continue
		}
		c.Leases.Subnets = append(c.Leases.Subnets, n)
	}
	for i, h := range r.DHCP.Hosts {
		key := fmt.Sprintf("dhcp.hosts[%d]", i)
		host := lease.Host{Name: h.Name}
		host.MAC = value(d, key+".mac", h.MAC, boot.ParseMAC, "a MAC address, like 52:54:00:12:34:56")
		host.Addr = value(d, key+".ip", h.IP, netip.ParseAddr, "an address, like 10.0.0.10")
		c.Leases.Hosts = append(c.Leases.Hosts, host)
	}
}

// poolFlag reads --pool, which is a subnet of its own. Its network is known once
// the interface is chosen.
func (d *decoder) poolFlag(r *raw, c *Config) {
	if r.Pool == "" {
		return
	}
	if len(c.Leases.Subnets) > 0 {
		d.fail("pool", errors.New("set beside dhcp.subnets; give each subnet its pool there"))
	}
	from, to := d.pool("pool", r.Pool, netip.Prefix{})
	if from.Is6() {
		d.fail("pool", errors.New("IPv6 addresses belong under dhcp.subnets, with their net"))
	}
	c.Leases.Subnets = append(c.Leases.Subnets, lease.Subnet{PoolFrom: from, PoolTo: to, Lease: lease.DefaultTiming.Lease})
}

// pool reads A-B and checks that it is inside net, where net is known.
func (d *decoder) pool(key, text string, network netip.Prefix) (from, to netip.Addr) {
	a, b, ok := strings.Cut(text, "-")
	from, err := netip.ParseAddr(strings.TrimSpace(a))
	to, err2 := netip.ParseAddr(strings.TrimSpace(b))
	switch {
	case !ok || err != nil || err2 != nil || from.BitLen() != to.BitLen() || from.Is4In6() || from.Zone()+to.Zone() != "":
		d.fail(key, fmt.Errorf("%q is not a range of addresses, like 10.0.0.100-10.0.0.199", text))
	case to.Less(from):
		d.fail(key, fmt.Errorf("%q ends before it begins", text))
	case network.IsValid() && (!network.Contains(from) || !network.Contains(to)):
		d.fail(key, fmt.Errorf("%q is not inside %s", text, network))
	}
	return from, to
}

func (d *decoder) profiles(r *raw, c *Config) {
	for i, p := range r.Profiles {
		c.Profiles = append(c.Profiles, d.profile(fmt.Sprintf("profiles[%d]", i), p, c))
	}
}

// profileFlag reads --flash or --boot. It is the only profile, for every
// machine.
func (d *decoder) profileFlag(r *raw, c *Config) {
	if r.Flash == "" && r.Boot == "" {
		return
	}
	if len(r.Profiles) > 0 || (r.Flash != "" && r.Boot != "") {
		d.fail("flash", errors.New("--flash or --boot is the one profile for every machine; profiles or the other cannot stand beside it"))
		return
	}
	one := rawProfile{Name: "flash", Action: string(boot.ActionFlash), Image: byBoard{"": r.Flash}}
	key := "flash"
	if r.Boot != "" {
		parts := append(strings.SplitN(r.Boot, ",", 3), "", "")
		key, one = "boot", rawProfile{Name: "boot", Action: string(boot.ActionBoot), Kernel: parts[0], Initrd: parts[1], Cmdline: parts[2]}
	}
	c.Profiles = append(c.Profiles, d.profile(key, one, c))
}

func (d *decoder) profile(key string, p rawProfile, c *Config) *boot.Profile {
	out := &boot.Profile{
		Name: p.Name, Action: boot.Action(p.Action),
		Then: cmp.Or(boot.Next(p.Then), boot.Reboot), OnFailure: cmp.Or(boot.Next(p.OnFailure), boot.Retry),
		Kernel: p.Kernel, Initrd: p.Initrd, Cmdline: p.Cmdline,
		Transfer: boot.DefaultTransfer,
		Images:   p.Image,
	}
	if out.Name == "" {
		d.fail(key, errors.New("name: not set"))
	}
	if slices.ContainsFunc(c.Profiles, func(o *boot.Profile) bool { return o.Name == out.Name }) {
		d.fail(key+".name", fmt.Errorf("%q is the name of an earlier profile", out.Name))
	}
	if err := boot.OneOf("action", out.Action, boot.Actions...); err != nil {
		d.fail(key, err)
	}
	oneOf(d, key+".then", out.Then, boot.ThenValues...)
	oneOf(d, key+".on_failure", out.OnFailure, boot.OnFailureValues...)
	row := out.Action.Row()
	switch {
	case row.NeedsImage && len(p.Image) == 0:
		d.fail(key, fmt.Errorf("image: not set; action %s needs one", out.Action))
	case !row.NeedsImage && len(p.Image) > 0:
		d.fail(key+".image", fmt.Errorf("action %s takes no image", out.Action))
	case row.NeedsKernel && p.Kernel == "":
		d.fail(key, fmt.Errorf("kernel: not set; action %s needs one", out.Action))
	}
	for name := range p.Image {
		if _, ok := board.ByName(name); name != "" && !ok {
			d.fail(key+".image."+name, fmt.Errorf("%q is no board; `mkboot boards` lists them", name))
		}
	}
	out.Match = d.match(key+".match", p.Match)
	if row.NeedsKernel {
		d.kexec(key+".match", boot.Match{Board: out.Match.Board, Arch: out.Match.Arch})
	}
	out.Disk = boot.Disk{
		Serial: p.Disk.Serial, WWN: p.Disk.WWN, Model: p.Disk.Model, Overwrite: p.Disk.Overwrite,
		Min: d.size(key+".disk.min", p.Disk.Min, 0), Max: d.size(key+".disk.max", p.Disk.Max, 0),
	}
	if _, err := path.Match(p.Disk.Model, ""); err != nil {
		d.fail(key+".disk.model", fmt.Errorf("%q is not a pattern", p.Disk.Model))
	}
	if out.Disk.Overwrite && !out.Match.Specific() {
		d.fail(key+".disk.overwrite", errors.New("true in a profile that does not match by mac, uuid or serial: it would wipe the disk of any machine that comes by"))
	}
	if len(p.Transfer.Order) > 0 {
		out.Transfer.Order = p.Transfer.Order
		for _, proto := range p.Transfer.Order {
			oneOf(d, key+".transfer.order", proto, boot.DefaultTransfer.Order...)
		}
	}
	out.Transfer.TFTPMax = d.size(key+".transfer.tftp_max", p.Transfer.TFTPMax, boot.DefaultTransfer.TFTPMax)
	return out
}

func (d *decoder) match(key string, m rawMatch) boot.Match {
	out := boot.Match{Serial: m.Serial, Board: m.Board, Arch: m.Arch, Interface: m.Interface, Circuit: m.Circuit}
	for _, mac := range m.MAC {
		out.MAC = append(out.MAC, d.macGlob(key+".mac", mac))
	}
	for _, u := range m.UUID {
		out.UUID = append(out.UUID, value(d, key+".uuid", u, boot.ParseUUID, "a UUID, as dmidecode prints it"))
	}
	for _, name := range m.Board {
		if _, ok := board.ByName(name); !ok {
			d.fail(key+".board", fmt.Errorf("%q is no board; `mkboot boards` lists them", name))
		}
	}
	for key2, globs := range map[string][]string{"mac": out.MAC, "serial": out.Serial, "interface": out.Interface, "circuit": out.Circuit, "arch": out.Arch} {
		for _, g := range globs {
			if _, err := path.Match(g, ""); err != nil {
				d.fail(key+"."+key2, fmt.Errorf("%q is not a pattern", g))
			}
		}
	}
	return out
}

// kexec refuses a match of action boot without kexec. This is one that names a
// board without kexec, or matches only such boards.
func (d *decoder) kexec(key string, m boot.Match) {
	able, unable := 0, ""
	for _, b := range board.Boards {
		switch {
		case !m.Matches(boot.Facts{Board: b.Name, Arch: b.Arch}):
		case b.Kexec():
			able++
		default:
			unable = b.Name
		}
	}
	if unable != "" && (able == 0 || len(m.Board) > 0) {
		d.fail(key, fmt.Errorf("action boot needs kexec, which 32-bit ARM (%s) does not have; action flash works there", unable))
	}
}

// macGlob reads a MAC, or a pattern over aa:bb:cc:dd:ee:ff.
func (d *decoder) macGlob(key, text string) string {
	text = strings.ToLower(text)
	if !strings.ContainsAny(text, "*?[") {
		return value(d, key, text, boot.ParseMAC, "a MAC address, like 52:54:00:12:34:56").String()
	}
	if strings.Trim(text, "0123456789abcdef:*?[]-^") != "" {
		d.fail(key, fmt.Errorf("%q is not a pattern of MAC addresses, like 52:54:00:*", text))
	}
	return text
}
