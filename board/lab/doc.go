// Package lab runs machines of the board table in QEMU, for `mkboot run`,
// `mkboot demo` and tests. A Machine describes one, Start turns it on, and a VM
// is one that runs. Links and switches join their network cards.
//
// It needs no root and never touches the host's network. Everything that it
// makes lies in folders that its callers name, or goes with the machine.
package lab
