package loaders

import (
	"fmt"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// IPXEChain is the script for a foreign DHCP server. That names one file for
// all machines, and the script asks again with its MAC.
func IPXEChain() []byte {
	return fmt.Appendf(nil, "#!ipxe\nchain --autofree %s/${netX/mac:hexhyp}\n", board.Script)
}

// IPXE is the script for one machine: boot the disk, or load our firmware. On
// UEFI iPXE cannot boot the disk, but our firmware can, by BootNext. iPXE's
// TFTP has no windowsize, so Bases should begin with HTTP.
func IPXE(b Boot) []byte {
	// fetch is a line that tries one server after another.
	fetch := func(before, name, behind string) string {
		var tries []string
		for _, base := range b.Bases {
			tries = append(tries, before+base+name+behind)
		}
		return strings.Join(append(tries, "goto failed\n"), " || ")
	}
	s := "#!ipxe\n"
	if b.Local {
		s += "iseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 || exit\n:firmware\n"
	}
	if b.Initramfs {
		s += fetch("kernel ", b.Board.File(board.Kernel), " initrd="+board.Initramfs+" "+b.Cmdline())
		s += fetch("initrd --name "+board.Initramfs+" ", b.Board.File(board.Initramfs), "")
	} else { // the initramfs is in the kernel, as `mkboot kernel` makes it
		s += fetch("kernel ", b.Board.File(board.Kernel), " "+b.Cmdline())
	}
	s += "boot || goto failed\n:failed\n"
	s += "echo Bootlace: no firmware for board " + b.Board.Name + " came; next try in 10 s\nsleep 10\n"
	s += fetch("chain --autofree ", board.Script+"/${netX/mac:hexhyp}", "")
	return []byte(s)
}
