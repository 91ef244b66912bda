package appliance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// uboot makes U-Boot's boot script. U-Boot asks for one by the same name on
// every machine: who it is, its address says. Where that says nothing, as
// behind a relay and another's DHCP server, the script asks again by its MAC.
func (a *Appliance) uboot(name string, from netip.Addr) ([]byte, error) {
	mac, named := strings.CutPrefix(name, board.BootScript+"/")
	switch {
	case named:
	case name == board.BootScript:
		mac = ""
	default:
		return nil, fs.ErrNotExist
	}
	if _, known := a.who.get(from); !named && !known {
		return scriptImage("tftpboot ${scriptaddr} " + board.BootScript + "/${ethaddr} && source ${scriptaddr}\n"), nil
	}
	d, err := a.whose(mac, from)
	if err != nil {
		return nil, err
	}
	return scriptImage(a.bootScript(d, from)), nil
}

// bootScript tries the disk, where that is what is to be done; our kernel and
// initramfs; and what there may be in pxelinux.cfg. Behind its end U-Boot goes
// on with what it would do next: the EFI program that it is offered by DHCP.
func (a *Appliance) bootScript(d decision, from netip.Addr) string {
	var s strings.Builder
	if d.local() {
		// As distro_bootcmd goes through them, less the network.
		s.WriteString("for t in ${boot_targets}; do if test ${t} != dhcp && test ${t} != pxe; then run bootcmd_${t}; fi; done\n")
	}
	b, self := d.board, a.addrFor(from)
	if b != nil {
		b = a.runs(b)
	}
	if command := bootCommand(b); command != "" && a.has(b, board.Kernel) {
		fmt.Fprintf(&s, "echo Bootlace: %s\n", b.Name)
		fmt.Fprintf(&s, "setenv serverip %s\n", self)
		// No word of a command line has a quote or a dollar in it.
		fmt.Fprintf(&s, "setenv bootargs '%s'\n", a.cmdline(b, self.String()))
		// The device tree is U-Boot's own, unless the board keeps one at fdt_addr.
		s.WriteString("setenv fdt_bootlace ${fdtcontroladdr}\n")
		s.WriteString("if test -n \"${fdt_addr}\" && fdt addr ${fdt_addr}; then setenv fdt_bootlace ${fdt_addr}; fi\n")
		fmt.Fprintf(&s, "if tftpboot ${kernel_addr_r} %s && tftpboot ${ramdisk_addr_r} %s; then %s ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_bootlace}; fi\n",
			b.File(board.Kernel), b.File(board.Initramfs), command)
	}
	s.WriteString("if pxe get; then pxe boot; fi\n")
	return s.String()
}

// bootCommand is U-Boot's command for a board's kernel, "" where there is none.
func bootCommand(b *board.Board) string {
	if b == nil {
		return ""
	}
	arch, ok := board.ArchOf(b.Arch)
	if !ok {
		return ""
	}
	return arch.BootCommand
}

// scriptImage wraps a script for U-Boot's `source`: a legacy image (include/
// image.h, struct legacy_img_hdr) of type script, whose data is the length of
// the text, a zero that ends the list of lengths, and the text.
func scriptImage(text string) []byte {
	const (
		magic    = 0x27051956
		osLinux  = 5
		arm      = 2
		script   = 6
		nameSize = 32
	)
	data := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	data = append(append(data, 0, 0, 0, 0), text...)

	h := binary.BigEndian.AppendUint32(nil, magic)
	h = append(h, 0, 0, 0, 0) // header's CRC, below
	h = append(h, 0, 0, 0, 0) // time: the same script has the same bytes
	h = binary.BigEndian.AppendUint32(h, uint32(len(data)))
	h = append(h, make([]byte, 8)...) // load address and entry point
	h = binary.BigEndian.AppendUint32(h, crc32.ChecksumIEEE(data))
	h = append(h, osLinux, arm, script, 0) // not compressed; nobody looks at a script's architecture
	h = append(h, append([]byte("bootlace"), make([]byte, nameSize-len("bootlace"))...)...)
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, data...)
}

// pxelinux makes the configuration for U-Boot's `pxe get` and for pxelinux.
// They ask in the same order, U-Boot with more names at its end: a UUID, 01-
// and the MAC, the address in hex and shortened digit by digit,
// default-<arch>-<soc>-<board> and so on, default. The first that tells which
// machine asks is answered; a shortened address never does.
func (a *Appliance) pxelinux(name string, from netip.Addr) ([]byte, error) {
	rest, ok := strings.CutPrefix(name, board.Pxelinux+"/")
	if !ok {
		return nil, fs.ErrNotExist
	}
	mac, named := strings.CutPrefix(rest, "01-")
	if !named {
		mac = ""
		_, err := boot.ParseUUID(rest)
		if err != nil && rest != "default" && !strings.HasPrefix(rest, "default-") && !isHex(rest, from) {
			return nil, fs.ErrNotExist
		}
	}
	d, err := a.whose(mac, from)
	if err != nil {
		return nil, err
	}
	b, self := a.runs(d.board), a.addrFor(from)
	if !a.has(b, board.Kernel) {
		return nil, fs.ErrNotExist
	}
	s := "DEFAULT bootlace\nPROMPT 0\n"
	if d.local() {
		s += "LABEL bootlace\nLOCALBOOT 0\n"
	} else {
		s += "LABEL bootlace\nKERNEL " + b.File(board.Kernel) + "\nINITRD " + b.File(board.Initramfs) +
			"\nAPPEND " + a.cmdline(b, self.String()) + "\n"
	}
	return []byte(s), nil
}

// isHex reports whether a name is an IPv4 address in eight hex digits.
func isHex(name string, addr netip.Addr) bool {
	raw, err := hex.DecodeString(name)
	if err != nil || len(raw) != 4 {
		return false
	}
	return netip.AddrFrom4([4]byte(raw)) == addr.Unmap()
}
