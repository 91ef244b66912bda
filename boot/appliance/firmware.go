package appliance

import (
	"slices"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// has reports whether the root holds one of a board's firmware files.
func (a *Appliance) has(b *board.Board, name string) bool { return a.tree.Holds(b.File(name)) }

// firmed reports whether the root holds firmware for a board.
func (a *Appliance) firmed(b *board.Board) bool {
	return a.has(b, board.Kernel) || a.has(b, board.UKI)
}

// runs is the board whose firmware a machine is given, and which it is then
// known as: its own, or one that does where that is not there. A machine of
// which nothing is known is taken for a PC.
func (a *Appliance) runs(b *board.Board) *board.Board {
	if b != nil {
		if in, ok := board.ByName(b.StandIn); ok && !a.firmed(b) && a.firmed(in) {
			return in
		}
		return b
	}
	pcs := slices.DeleteFunc(slices.Clone(board.Boards), func(b *board.Board) bool { return b.Arch != "amd64" })
	slices.Reverse(pcs) // from the general to the special
	for _, b := range pcs {
		if a.firmed(b) {
			return b
		}
	}
	return pcs[0]
}

// bootfile is the first of the files a loader may be given that is there, as
// the loader wants it named.
func (a *Appliance) bootfile(d decision, r boot.Request) string {
	l := r.Loader
	for _, name := range l.Files {
		switch name {
		case board.Script:
			return board.Script + "/" + r.MAC.Hyphens()
		case board.BootScript:
			return board.BootScript
		}
		if d.board == nil || !a.has(d.board, name) {
			continue
		}
		name = d.board.File(name)
		if !l.HTTP {
			return name
		}
		if base := a.base("http", r.Server); base != "" {
			return base + name
		}
	}
	return ""
}

// cmdline is what the kernel of a board is started with.
func (a *Appliance) cmdline(b *board.Board, self string) string {
	return b.CommandLine() + " bootlace.server=" + self
}

// local reports whether the machine is to boot from its disk.
func (d decision) local() bool { return d.action == boot.ActionLocal }
