package board

import "strings"

// A Board is one kind of hardware. Bootlace makes firmware for it, or at least
// recognises it.
type Board struct {
	Name    string // as in a profile and in firmware/<name>/
	Doc     string // one line for `mkboot boards`
	Arch    string // name of its row in Arches
	Kernel  string // Debian package whose kernel and modules it boots
	Modules []string
	Console []string // values for console=, the last becomes /dev/console
	Cmdline string   // what the kernel needs besides the consoles

	// Unbuilt says why no firmware is made for the board. "" means that it is.
	// An unbuilt board is recognised and gets what lies in its folder.
	Unbuilt string

	// Trees are device trees that the board's first stage asks for by name. A
	// key is the name under firmware/<name>/. A value is the file below
	// usr/lib/linux-image-<release>/ of the kernel's package.
	Trees map[string]string

	// Extras are files of other packages that lie beside the firmware.
	Extras []Extra

	// StandIn names a board whose firmware also runs on this one. It is used
	// while the board's own is not there. "" means that there is none.
	StandIn string

	// Pi is the filter, such as pi4, that a Raspberry Pi heeds in config.txt.
	// "" means that the board is no Raspberry Pi.
	Pi string

	// Windowsize caps the TFTP window (RFC 7440), in blocks, to what the
	// receive ring of the network card takes in one burst. 0 means no cap.
	Windowsize int

	// How a machine of this kind is recognised. Clients lists the values of
	// option 93 (RFC 4578 section 2.1, IANA) with which it asks. If any of the
	// other fields is set, one of them must fit too.
	Clients []Client
	GUID    string   // first bytes of option 97; it counts more than the rest
	OUIs    []string // first bytes of its MAC addresses, 52:54:00
	NICs    []uint16 // PCI vendors of its network card, if the loader tells one

	QEMU *QEMU // how to run one without hardware, nil when QEMU cannot
}

// An Extra is a file that is copied unchanged from a Debian package. Every
// architecture has that package.
type Extra struct {
	Name    string // under firmware/<name>/
	Package string
	Path    string // in the package: usr/lib/…
}

// QEMU says how a machine of this board is started, for `mkboot run` and for
// tests. The program is the architecture's.
type QEMU struct {
	Args []string
	NIC  string // device of the network card
	Disk string // device of the disk that is flashed

	// What it can start with. Files are those of Debian's packages, "" where
	// there is none.
	BIOS     bool   // SeaBIOS, which QEMU brings along
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

// Kexec reports whether a kernel on this board can start another from files.
func (b *Board) Kexec() bool {
	a, ok := ArchOf(b.Arch)
	return ok && a.Kexec
}

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
// A machine that fits no other row is taken for one of the last three.
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

// cmdline is part of every kernel's command line. Nobody is at the keyboard, so
// the console is never blanked. A kernel that panics shows why for 10 s and
// then restarts.
const cmdline = "consoleblank=0 panic=10"

// filesystems are the modules that read a BOOTLACE disk and an EFI system
// partition, and that set BootNext. A kernel may have some of them built in.
// Those are left out when firmware is made.
var filesystems = []string{"vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "efivarfs"}

// ext4 as a module finds its checksum by an alias, which only modprobe knows.
// So the checksum is named too.
var ext4 = []string{"crc32c_generic", "ext4"}

// virtio has every driver as a module of its own in Debian's kernels.
var virtio = []string{"virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "virtio_rng", "sd_mod"}

// The OUI that QEMU and libvirt give their network cards.
const qemuOUI = "52:54:00"

// PCI vendor of virtio devices.
const virtioVendor = 0x1af4
