// Package board says what hardware is: one table of boards, one of the loaders
// that ask for firmware on them, and how a DHCP client is recognised as either.
// Quirks of firmware are facts here; protocol code reads them and never compares
// a MAC prefix or a product name.
package board

import "strings"

// A Board is one kind of hardware that Bootlace makes firmware for, or knows
// by sight.
type Board struct {
	Name    string // as in a profile and in firmware/<name>/
	Doc     string // one line for `mkboot boards`
	Arch    string // GOARCH of its firmware
	Kernel  string // Debian package whose kernel and modules it boots
	Modules []string
	Console []string // values for console=, the last becomes /dev/console
	Cmdline string   // what the kernel needs besides the consoles

	// Unbuilt says why no firmware is made for it; "" where it is. Such a board
	// is recognised all the same and served what lies in its folder.
	Unbuilt string

	// Trees are device trees that the board's first stage asks for by name:
	// firmware/<name>/<key> is the file of that name below the kernel package's
	// usr/lib/linux-image-<release>/.
	Trees map[string]string

	// Extras are files of other packages that lie beside the firmware.
	Extras []Extra

	// StandIn names a board whose firmware does on this one where its own is
	// not there; "" where none does.
	StandIn string

	// Pi: it is a Raspberry Pi, whose own boot program reads config.txt and
	// there what stands behind a filter for it, [pi4]; "": it is none.
	Pi string

	// Windowsize is the widest TFTP window (RFC 7440) that the receive ring of
	// its network card takes in one burst; 0: no cap.
	Windowsize int

	// How a machine of this kind is told from others. Clients lists the option
	// 93 values (RFC 4578 section 2.1, IANA) with which one asks. Where any of
	// the others is set, one of them must fit as well.
	Clients []Client
	GUID    string   // start of option 97's sixteen bytes; it counts more than the rest
	OUIs    []string // starts of its MAC addresses, 52:54:00
	NICs    []uint16 // PCI vendors of its network card, where the loader tells

	QEMU *QEMU // how to run one without hardware, nil when QEMU cannot
}

// An Extra is a file that is taken as it is from a Debian package that every
// architecture has.
type Extra struct {
	Name    string // under firmware/<name>/
	Package string
	Path    string // in the package: usr/lib/…
}

// QEMU holds what starts a machine of this board, for `mkboot run` and the tests.
type QEMU struct {
	Command string // qemu-system-x86_64
	Args    []string
	NIC     string // device of the network card
	Disk    string // device of the disk that is flashed

	// Firmware files, as Debian's packages have them; "" where there is none.
	UEFI     string // code, for pflash unit 0
	UEFIVars string // blank variables, for a copy in pflash unit 1
	UBoot    string // for -bios
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

// Kexec reports whether a kernel of the board's architecture can start another
// from files: 32-bit ARM has kexec_load(2) alone, for which the caller would
// have to bring a device tree and code that moves the kernel into place.
func (b *Board) Kexec() bool { return b.Arch != "arm" }

// ByName finds a board in the table.
func ByName(name string) (*Board, bool) {
	for _, b := range Boards {
		if b.Name == name {
			return b, true
		}
	}
	return nil, false
}

// Boards is the table: one literal a board, from the special to the general.
// What is recognised as nothing else is taken for one of the last three.
var Boards = []*Board{
	qemuX8664, qemuARM64, qemuARM,
	rpi3, rpi4, rpi5,
	pcX8664, genericARM64, genericARMv7,
}

// CommandLine returns what every kernel of the board is started with.
func (b *Board) CommandLine() string {
	var words []string
	for _, c := range b.Console {
		words = append(words, "console="+c)
	}
	return strings.Join(append(words, b.Cmdline), " ")
}

// cmdline is what all kernels are started with: the appliance and the agent own
// the devices, so no console blanking, and a kernel that dies says so and
// starts again.
const cmdline = "consoleblank=0 panic=10"

// filesystems are the modules by which the BOOTLACE store and an EFI system
// partition are read, and BootNext is set. Not all is a module everywhere:
// what a kernel has built in is left out when firmware is made.
var filesystems = []string{"vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "efivarfs"}

// ext4 as a module needs its checksum by name, since modprobe would find it by
// an alias.
var ext4 = []string{"crc32c_generic", "ext4"}

// virtio, of which Debian's kernels have every part as a module.
var virtio = []string{"virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "virtio_rng", "sd_mod"}

// The OUI that QEMU and libvirt give their network cards.
const qemuOUI = "52:54:00"

// PCI vendor of virtio devices.
const virtioVendor = 0x1af4
