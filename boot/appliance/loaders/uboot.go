package loaders

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// UBootAsk is U-Boot's boot script for an unknown machine. It asks again with
// its MAC in the name.
func UBootAsk() []byte {
	return scriptImage("tftpboot ${scriptaddr} " + board.BootScript + "/${ethaddr} && source ${scriptaddr}\n")
}

// UBoot is U-Boot's boot script for one machine. It tries the disk if that is
// due, then our kernel and initramfs, then pxelinux.cfg. After it U-Boot
// continues with its own order. Next there is the EFI program that DHCP offers.
func UBoot(b Boot) []byte {
	var s strings.Builder
	if b.Local {
		// As distro_bootcmd does, without the network.
		s.WriteString("for t in ${boot_targets}; do if test ${t} != dhcp && test ${t} != pxe; then run bootcmd_${t}; fi; done\n")
	}
	if command := b.bootCommand(); command != "" && b.Kernel {
		fmt.Fprintf(&s, "echo Bootlace: %s\n", b.Board.Name)
		fmt.Fprintf(&s, "setenv serverip %s\n", b.Server)
		// No command line has a quote or a dollar in it.
		fmt.Fprintf(&s, "setenv bootargs '%s'\n", b.Cmdline())
		// The device tree is U-Boot's own, unless the board has one at
		// fdt_addr.
		s.WriteString("setenv fdt_bootlace ${fdtcontroladdr}\n")
		s.WriteString("if test -n \"${fdt_addr}\" && fdt addr ${fdt_addr}; then setenv fdt_bootlace ${fdt_addr}; fi\n")
		fmt.Fprintf(&s, "if tftpboot ${kernel_addr_r} %s && tftpboot ${ramdisk_addr_r} %s; then %s ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_bootlace}; fi\n",
			b.Board.File(board.Kernel), b.Board.File(board.Initramfs), command)
	}
	s.WriteString("if pxe get; then pxe boot; fi\n")
	return scriptImage(s.String())
}

// bootCommand is U-Boot's command that boots the kernel, "" where there is none.
func (b Boot) bootCommand() string {
	if b.Board == nil {
		return ""
	}
	arch, ok := board.ArchOf(b.Board.Arch)
	if !ok {
		return ""
	}
	return arch.BootCommand
}

// scriptImage wraps a script for U-Boot's `source`. The format is a legacy
// image of type script (include/image.h, struct legacy_img_hdr). Its data is
// the length of the text, a zero, and the text. The zero ends the list of
// lengths.
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
	h = append(h, osLinux, arm, script, 0) // not compressed; U-Boot ignores a script's architecture
	h = append(h, append([]byte("bootlace"), make([]byte, nameSize-len("bootlace"))...)...)
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, data...)
}
