package loaders

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// PxelinuxName says which machine a name in pxelinux.cfg is for. mac is the MAC
// in the name. It is "" for the machine at the address from. ok is false where
// the name identifies no machine.
//
// U-Boot's `pxe get` and pxelinux ask in the same order. First come a UUID, and
// 01- with the MAC. Then comes the address in hex, which is shortened digit by
// digit. Then U-Boot asks for default-<arch>-<soc>-<board> and shorter forms.
// The last name is default. The first name that identifies the machine gets an
// answer. A shortened address never does.
func PxelinuxName(name string, from netip.Addr) (mac string, ok bool) {
	rest, ok := strings.CutPrefix(name, board.Pxelinux+"/")
	if !ok {
		return "", false
	}
	if mac, named := strings.CutPrefix(rest, "01-"); named {
		return mac, true
	}
	_, err := boot.ParseUUID(rest)
	return "", err == nil || rest == "default" || strings.HasPrefix(rest, "default-") || isHex(rest, from)
}

// isHex reports whether a name is the IPv4 address in eight hex digits.
func isHex(name string, addr netip.Addr) bool {
	raw, err := hex.DecodeString(name)
	if err != nil || len(raw) != 4 {
		return false
	}
	return netip.AddrFrom4([4]byte(raw)) == addr.Unmap()
}

// Pxelinux is the configuration for U-Boot's `pxe get` and for pxelinux.
func Pxelinux(b Boot) []byte {
	s := "DEFAULT bootlace\nPROMPT 0\n"
	if b.Local {
		s += "LABEL bootlace\nLOCALBOOT 0\n"
	} else {
		s += "LABEL bootlace\nKERNEL " + b.Board.File(board.Kernel) + "\nINITRD " + b.Board.File(board.Initramfs) +
			"\nAPPEND " + b.Cmdline() + "\n"
	}
	return []byte(s)
}
