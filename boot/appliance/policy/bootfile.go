package policy

import (
	"slices"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// Firmware knows which firmware files the root holds.
type Firmware interface {
	Has(b *board.Board, name string) bool // name as for Board.File
}

// HasFirmware reports whether the root holds a board's firmware.
func HasFirmware(root Firmware, b *board.Board) bool {
	return root.Has(b, board.Kernel) || root.Has(b, board.UKI)
}

// FirmwareFor returns the board whose firmware a machine gets. From then on the
// machine counts as that board. It is the machine's own board, or a stand-in
// that the root has firmware for. An unknown machine counts as a PC.
func FirmwareFor(root Firmware, b *board.Board) *board.Board {
	if b != nil {
		if standIn, ok := board.ByName(b.StandIn); ok && !HasFirmware(root, b) && HasFirmware(root, standIn) {
			return standIn
		}
		return b
	}
	pcs := slices.DeleteFunc(slices.Clone(board.Boards), func(b *board.Board) bool { return b.Arch != board.DefaultArch })
	slices.Reverse(pcs) // general boards before special ones
	for _, b := range pcs {
		if HasFirmware(root, b) {
			return b
		}
	}
	return pcs[0]
}

// Bootfile returns the first of a loader's files that exists, "" where none
// does. base is the HTTP URL of the root, for a loader that wants a URL. It
// ends in /, and is "" where HTTP is off.
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
