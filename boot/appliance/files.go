package appliance

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/images"
)

// first makes what no file of the root may stand in for: plans.
func (a *Appliance) first(name string, from netip.Addr) ([]byte, error) {
	if name != "plan" && !strings.HasPrefix(name, "plan/") {
		return nil, fs.ErrNotExist
	}
	mac, bootID, err := boot.ParsePlanName(name)
	if err != nil {
		return nil, fs.ErrPermission // ends here: the root's plan/ is never served
	}
	a.who.put(from, mac)
	return a.plan(context.Background(), mac, bootID, from)
}

// last makes what the root does not hold: iPXE's script, and the manifests
// that were computed at start.
func (a *Appliance) last(name string, from netip.Addr) ([]byte, error) {
	if image, ok := strings.CutSuffix(name, images.ManifestSuffix); ok {
		return a.manifests.read(image)
	}
	if name == board.Script {
		// For a DHCP server that is not ours and names one file for all.
		return fmt.Appendf(nil, "#!ipxe\nchain --autofree %s/${netX/mac:hexhyp}\n", board.Script), nil
	}
	rest, ok := strings.CutPrefix(name, board.Script+"/")
	if !ok {
		return nil, fs.ErrNotExist
	}
	mac, err := boot.ParseMAC(rest)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	a.who.put(from, mac)
	d, err := a.byMAC(context.Background(), mac)
	if err != nil {
		return nil, err
	}
	return a.script(d, from), nil
}

// script is what iPXE runs: the disk, or our firmware. On UEFI iPXE cannot
// start the disk; our firmware can, by BootNext.
func (a *Appliance) script(d decision, from netip.Addr) []byte {
	b := d.board
	if b == nil {
		b = board.Boards[0]
	}
	self := a.addrFor(from)
	base := cmp.Or(a.base("tftp", self), a.base("http", self))
	s := "#!ipxe\n"
	if d.action == boot.ActionLocal {
		s += "iseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 || exit\n:firmware\n"
	}
	s += fmt.Sprintf("kernel %s initrd=%s %s bootlace.server=%s || goto failed\n",
		base+b.File(board.Kernel), board.Initramfs, b.CommandLine(), self)
	s += fmt.Sprintf("initrd --name %s %s || goto failed\n", board.Initramfs, base+b.File(board.Initramfs))
	s += "boot || goto failed\n:failed\n"
	s += "echo Bootlace: no firmware for board " + b.Name + " came; next try in 10 s\nsleep 10\n"
	s += "chain --autofree " + base + board.Script + "/${netX/mac:hexhyp}\n"
	return []byte(s)
}
