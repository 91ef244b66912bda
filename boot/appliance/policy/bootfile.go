package policy

import (
	"slices"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// Firmware says which firmware files the root holds.
type Firmware interface {
	Has(b *board.Board, name string) bool // name as in board.File
}

// HasFirmware reports whether the root holds firmware for a board.
func HasFirmware(root Firmware, b *board.Board) bool {
	return root.Has(b, board.Kernel) || root.Has(b, board.UKI)
}

// FirmwareFor is the board whose firmware a machine is given, and as which it
// is then known. It is its own, or one that does where that is not there. A
// machine of which nothing is known is taken for a PC.
func FirmwareFor(root Firmware, b *board.Board) *board.Board {
	if b != nil {
		if in, ok := board.ByName(b.StandIn); ok && !HasFirmware(root, b) && HasFirmware(root, in) {
			return in
		}
		return b
	}
	pcs := slices.DeleteFunc(slices.Clone(board.Boards), func(b *board.Board) bool { return b.Arch != board.DefaultArch })
	slices.Reverse(pcs) // from the general to the special
	for _, b := range pcs {
		if HasFirmware(root, b) {
			return b
		}
	}
	return pcs[0]
}

// Bootfile is the first of the files a loader may be given that is there, as
// the loader wants it named, "" where there is none. base is where HTTP serves
// the root, for a loader that wants a URL; it ends in /, and is "" where HTTP
// is off.
func (d Decision) Bootfile(root Firmware, l *board.Loader, mac boot.MAC, base string) string {
	for _, name := range l.Files {
		switch name {
		case board.Script:
			return board.Script + "/" + mac.Hyphens()
		case board.BootScript:
			return board.BootScript
		}
		if d.Board == nil || !root.Has(d.Board, name) {
			continue
		}
		name = d.Board.File(name)
		if !l.HTTP {
			return name
		}
		if base != "" {
			return base + name
		}
	}
	return ""
}
