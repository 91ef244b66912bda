package appliance

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/catalog"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/loaders"
	"github.com/bootlace/bootlace/boot/appliance/policy"
	"github.com/bootlace/bootlace/images"
)

// made makes the files that no disk holds. These are plans, loaders' scripts
// and configurations, and manifests that were computed at start.
type made struct {
	*machines
	urls      *urls
	plans     *plans
	manifests *catalog.Manifests
}

// plan makes plans. No file of the root can replace one.
func (m *made) plan(ctx context.Context, c files.Client, name string) ([]byte, error) {
	if !isPlan(name) {
		return nil, fs.ErrNotExist
	}
	mac, bootID, err := boot.ParsePlanName(name)
	if err != nil {
		return nil, fs.ErrPermission // final: files under plan/ in the root are never served
	}
	m.recordAddr(mac, c.Addr)
	return m.plans.write(ctx, mac, bootID, c.Addr)
}

// isPlan reports whether a name is plan or below plan/.
func isPlan(name string) bool { return name == "plan" || strings.HasPrefix(name, "plan/") }

// elsewhere names other places for a Raspberry Pi's files. A Pi asks in a
// folder of its own. Without that folder in the root, its files are at the top
// or with its board's firmware.
func (m *made) elsewhere(_ context.Context, c files.Client, name string) []string {
	rest, ok := loaders.WithoutPiFolder(name)
	if !ok && name != loaders.PiBootcode || isPlan(rest) {
		return nil
	}
	names := []string{rest}
	for _, b := range m.raspberryPisAt(c.Addr) {
		names = append(names, b.File(rest))
	}
	return names
}

// script makes manifests and loaders' scripts that the root does not hold.
func (m *made) script(ctx context.Context, c files.Client, name string) ([]byte, error) {
	if image, ok := strings.CutSuffix(name, images.ManifestSuffix); ok {
		return m.manifests.Read(image)
	}
	for _, write := range []files.Maker{m.ipxe, m.uboot, m.pxelinux, m.rpi} {
		data, err := write(ctx, c, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, fs.ErrNotExist
}

// bootOf says what a machine at an address loads, from a board's firmware.
func (m *made) bootOf(b *board.Board, d policy.Decision, from netip.Addr) loaders.Boot {
	self := m.urls.addrFor(from)
	load := loaders.Boot{
		Board: b, Local: d.Local(), Server: self,
		// iPXE's TFTP has no windowsize. With a slow card or a PXE ROM's driver
		// it is much slower than HTTP.
		Bases: m.urls.sources(self, []string{"http", "tftp"}),
	}
	if b != nil {
		load.Kernel, load.Initramfs = m.catalog.Has(b, board.Kernel), m.catalog.Has(b, board.Initramfs)
	}
	return load
}

// ipxe makes the scripts of iPXE.
func (m *made) ipxe(ctx context.Context, c files.Client, name string) ([]byte, error) {
	if name == board.Script {
		return loaders.IPXEChain(), nil
	}
	mac, ok := strings.CutPrefix(name, board.Script+"/")
	if !ok {
		return nil, fs.ErrNotExist
	}
	d, err := m.decisionFor(ctx, mac, c.Addr)
	if err != nil {
		return nil, err
	}
	return loaders.IPXE(m.bootOf(policy.FirmwareFor(m.catalog, d.Board), d, c.Addr)), nil
}

// uboot makes U-Boot's boot script. U-Boot requests the same script name on
// every machine, so the client's address identifies it. The address may be
// unknown, as with a relay and a foreign DHCP server. Then the script asks
// again with its MAC in the name.
func (m *made) uboot(ctx context.Context, c files.Client, name string) ([]byte, error) {
	mac, named := strings.CutPrefix(name, board.BootScript+"/")
	switch {
	case named:
	case name == board.BootScript:
		mac = ""
	default:
		return nil, fs.ErrNotExist
	}
	if _, known := m.byAddr.Get(c.Addr); !named && !known {
		return loaders.UBootAsk(), nil
	}
	d, err := m.decisionFor(ctx, mac, c.Addr)
	if err != nil {
		return nil, err
	}
	b := d.Board
	if b != nil {
		b = policy.FirmwareFor(m.catalog, b)
	}
	return loaders.UBoot(m.bootOf(b, d, c.Addr)), nil
}

// pxelinux makes the configuration for U-Boot's `pxe get` and for pxelinux.
func (m *made) pxelinux(ctx context.Context, c files.Client, name string) ([]byte, error) {
	mac, ok := loaders.PxelinuxName(name, c.Addr)
	if !ok {
		return nil, fs.ErrNotExist
	}
	d, err := m.decisionFor(ctx, mac, c.Addr)
	if err != nil {
		return nil, err
	}
	load := m.bootOf(policy.FirmwareFor(m.catalog, d.Board), d, c.Addr)
	if !load.Kernel {
		return nil, fs.ErrNotExist
	}
	return loaders.Pxelinux(load), nil
}

// rpi makes config.txt and cmdline.txt of a Raspberry Pi.
func (m *made) rpi(_ context.Context, c files.Client, name string) ([]byte, error) {
	rest, _ := loaders.WithoutPiFolder(name)
	var boots []loaders.Boot
	for _, b := range m.raspberryPisAt(c.Addr) {
		if load := m.bootOf(b, policy.Decision{}, c.Addr); load.Kernel {
			boots = append(boots, load)
		}
	}
	text := loaders.Pi(rest, boots)
	if text == nil {
		return nil, fs.ErrNotExist
	}
	return text, nil
}

// raspberryPisAt returns the boards that a Raspberry Pi at an address can be. A
// Pi 3 may get its address from another DHCP server in an exchange we never
// see.
func (m *made) raspberryPisAt(from netip.Addr) []*board.Board {
	if _, known := m.byAddr.Get(from); known {
		if b := m.boardAt(from); b != nil && b.Pi != "" {
			return []*board.Board{b}
		}
		return nil
	}
	var all []*board.Board
	for _, b := range board.Boards {
		if b.Pi != "" {
			all = append(all, b)
		}
	}
	return all
}
