package loaders

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// PxelinuxName tells which machine is meant by a name in pxelinux.cfg, asked
// for from an address: mac as it stands in the name, "" for who has the
// address. ok is false where the name says nothing of who asks.
//
// U-Boot's `pxe get` and pxelinux ask in the same order, U-Boot with more names
// at its end: a UUID, 01- and the MAC, the address in hex and shortened digit
// by digit, default-<arch>-<soc>-<board> and so on, default. The first name
// that tells which machine asks is answered; a shortened address never does.
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

// isHex reports whether a name is an IPv4 address in eight hex digits.
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
