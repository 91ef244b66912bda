package appliance

import (
	"context"
	"errors"
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
	if !isPlan(name) {
		return nil, fs.ErrNotExist
	}
	mac, bootID, err := boot.ParsePlanName(name)
	if err != nil {
		return nil, fs.ErrPermission // ends here: the root's plan/ is never served
	}
	a.who.put(from, mac)
	return a.plan(context.Background(), mac, bootID, from)
}

// isPlan reports whether a name is that of a plan, or of the folder they are in.
func isPlan(name string) bool { return name == "plan" || strings.HasPrefix(name, "plan/") }

// last makes what the root does not hold: scripts and configurations for
// loaders, and the manifests that were computed at start.
func (a *Appliance) last(name string, from netip.Addr) ([]byte, error) {
	if image, ok := strings.CutSuffix(name, images.ManifestSuffix); ok {
		return a.manifests.read(image)
	}
	for _, make := range []images.Maker{a.ipxe, a.uboot, a.pxelinux, a.rpi} {
		data, err := make(name, from)
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, fs.ErrNotExist
}

// whose decides for the machine that asks from an address: by mac where it
// named itself, else by who has the address.
func (a *Appliance) whose(mac string, from netip.Addr) (decision, error) {
	m, ok := a.who.get(from)
	if mac != "" {
		var err error
		if m, err = boot.ParseMAC(mac); err != nil {
			return decision{}, fs.ErrNotExist
		}
		a.who.put(from, m)
	} else if !ok {
		return decision{}, fs.ErrNotExist
	}
	return a.byMAC(context.Background(), m)
}

// ipxe makes iPXE's scripts.
func (a *Appliance) ipxe(name string, from netip.Addr) ([]byte, error) {
	if name == board.Script {
		// For a DHCP server that is not ours and names one file for all.
		return fmt.Appendf(nil, "#!ipxe\nchain --autofree %s/${netX/mac:hexhyp}\n", board.Script), nil
	}
	mac, ok := strings.CutPrefix(name, board.Script+"/")
	if !ok {
		return nil, fs.ErrNotExist
	}
	d, err := a.whose(mac, from)
	if err != nil {
		return nil, err
	}
	return a.script(d, from), nil
}

// script is what iPXE runs: the disk, or our firmware. On UEFI iPXE cannot
// start the disk; our firmware can, by BootNext. What it fetches it asks for by
// HTTP, then by TFTP: its TFTP knows no windows, which costs a slow card, or a
// PXE ROM's driver, most of its speed.
func (a *Appliance) script(d decision, from netip.Addr) []byte {
	b := a.runs(d.board)
	self := a.addrFor(from)
	bases := a.sources(self, []string{"http", "tftp"})
	// fetch is a line that tries one after the other.
	fetch := func(before, name, behind string) string {
		var tries []string
		for _, base := range bases {
			tries = append(tries, before+base+name+behind)
		}
		return strings.Join(append(tries, "goto failed\n"), " || ")
	}
	s := "#!ipxe\n"
	if d.local() {
		s += "iseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 || exit\n:firmware\n"
	}
	if a.has(b, board.Initramfs) {
		s += fetch("kernel ", b.File(board.Kernel), " initrd="+board.Initramfs+" "+a.cmdline(b, self.String()))
		s += fetch("initrd --name "+board.Initramfs+" ", b.File(board.Initramfs), "")
	} else { // it is inside, as `mkboot kernel` makes it
		s += fetch("kernel ", b.File(board.Kernel), " "+a.cmdline(b, self.String()))
	}
	s += "boot || goto failed\n:failed\n"
	s += "echo Bootlace: no firmware for board " + b.Name + " came; next try in 10 s\nsleep 10\n"
	s += fetch("chain --autofree ", board.Script+"/${netX/mac:hexhyp}", "")
	return []byte(s)
}
