// Package board says what hardware is: one table of boards, one of the loaders
// that ask for firmware on them, and how a DHCP client is recognised as either.
// Quirks of firmware are facts here; protocol code reads them and never compares
// a MAC prefix or a product name.
package board

import "strings"

// A Board is one kind of hardware that Bootlace makes firmware for.
type Board struct {
	Name    string // as in a profile and in firmware/<name>/
	Doc     string // one line for `mkboot boards`
	Arch    string // GOARCH of its firmware
	Kernel  string // Debian package whose kernel and modules it boots
	Modules []string
	Console []string // values for console=, the last becomes /dev/console
	Cmdline string   // what the kernel needs besides the consoles

	// Clients lists the option 93 values (RFC 4578 section 2.1, IANA) with
	// which machines of this kind ask; the first board of the table that
	// lists a client's value is what an unknown machine is taken for.
	Clients []Client

	QEMU *QEMU // how to run one without hardware, nil when QEMU cannot
}

// QEMU holds what starts a machine of this board, for `mkboot run` and the tests.
type QEMU struct {
	Command string // qemu-system-x86_64
	Args    []string
	NIC     string // device of the network card
	Disk    string // device of the disk that is flashed
}

// Firmware files of a board, under firmware/<name>/ of the served root.
const (
	Kernel    = "vmlinuz"
	Initramfs = "initramfs.cpio.zst"
	UKI       = "bootlace.efi" // kernel, initramfs and command line as one EFI program
	Build     = "BUILD"        // what the three were made of
)

// File returns the name under the served root of one of the board's firmware files.
func (b *Board) File(name string) string { return "firmware/" + b.Name + "/" + name }

// ByName finds a board in the table.
func ByName(name string) (*Board, bool) {
	for _, b := range Boards {
		if b.Name == name {
			return b, true
		}
	}
	return nil, false
}

// Boards is the table: one literal a board, in order of preference.
var Boards = []*Board{qemuX8664}

// CommandLine returns what every kernel of the board is started with.
func (b *Board) CommandLine() string {
	var words []string
	for _, c := range b.Console {
		words = append(words, "console="+c)
	}
	return strings.Join(append(words, b.Cmdline), " ")
}
