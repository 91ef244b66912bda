package loaders

import (
	"net/netip"

	"github.com/bootlace/bootlace/board"
)

// A Boot is what one machine loads.
type Boot struct {
	Board     *board.Board // whose firmware the machine gets
	Local     bool         // the machine boots from its disk
	Server    netip.Addr   // the appliance, as the machine reaches it
	Bases     []string     // URLs of the served tree, the best first; each ends in /
	Kernel    bool         // the root holds the board's kernel
	Initramfs bool         // the root holds the board's initramfs; else it is inside the kernel
}

// Cmdline is the command line of the board's kernel.
func (b Boot) Cmdline() string {
	return b.Board.CommandLine() + " bootlace.server=" + b.Server.String()
}
