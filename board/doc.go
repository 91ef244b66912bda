// Package board says what hardware is, in three tables: architectures (Arches),
// boards (Boards) and the programs that ask for something to boot (Loaders).
// Recognise finds the board and the loader behind a DHCP packet.
//
// Both halves read it, and so do the makers of firmware and of virtual
// machines. Quirks of firmware are facts here. Code of a protocol reads those
// facts and never compares a MAC prefix or a product name itself.
//
// It does no I/O, keeps no state and imports nothing of ours.
package board
