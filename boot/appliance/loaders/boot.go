package loaders

import (
	"net/netip"

	"github.com/bootlace/bootlace/board"
)

// A Boot is what one machine is to load.
type Boot struct {
	Board     *board.Board // whose firmware it is given
	Local     bool         // it is to boot from its disk
	Server    netip.Addr   // the appliance, as the machine reaches it
	Bases     []string     // URLs of the served tree, each ends in /, the best first
	Kernel    bool         // the root holds the board's kernel
	Initramfs bool         // and its initramfs; else that is inside the kernel
}

// Cmdline is what the board's kernel is started with.
func (b Boot) Cmdline() string {
	return b.Board.CommandLine() + " bootlace.server=" + b.Server.String()
}
