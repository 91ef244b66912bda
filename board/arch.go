package board

import (
	"slices"
	"strings"
)

// An Arch is one processor architecture: everything that differs between
// architectures and is not a board's own. Some fields are only for the build
// machine. They are some hundred bytes of the device's binary. One table is
// easier to keep whole than two.
type Arch struct {
	// Name is Go's (GOARCH). Profiles, plans and reports use the same.
	Name string

	// How a machine of this architecture asks by DHCP, in option 93. The first
	// of a list is what our own agent sends, so BIOS and UBoot exclude each other.
	BIOS  []Client // PXE ROM
	UEFI  []Client // PXE of UEFI firmware
	HTTP  []Client // HTTP Boot of UEFI firmware
	UBoot []Client // U-Boot, by TFTP and by HTTP

	// EFI is the architecture in names of EFI programs: x64 as in BOOTX64.EFI
	// (UEFI 2.10 section 3.5.1.1) and in linuxx64.efi.stub of systemd.
	EFI string

	// BootCommand is U-Boot's command that starts our kernel image.
	BootCommand string

	// Kexec: a running kernel can start another from files.
	Kexec bool

	// Variant names the oldest processors that our programs run on, as a
	// variable for go build: GOARM=7.
	Variant string

	Debian string // Debian's name
	QEMU   string // qemu-system-x86_64

	// Kbuild is how `mkboot kernel` compiles a kernel; nil where it cannot.
	Kbuild *Kbuild
}

// Kbuild is how the kernel's own makefiles build an image.
type Kbuild struct {
	Arch   string // ARCH=
	Target string // make's target
	Image  string // the image, below the output folder
}

// Arches is the table: one row an architecture. ArchOf finds a row.
var Arches = []*Arch{amd64, arm64, arm, riscv64}

var amd64 = &Arch{
	Name:    "amd64",
	BIOS:    []Client{ClientBIOS},
	UEFI:    []Client{ClientUEFIx64, ClientUEFIx64BC},
	HTTP:    []Client{ClientHTTPx64},
	EFI:     "x64",
	Kexec:   true,
	Variant: "GOAMD64=v1",
	Debian:  "amd64",
	QEMU:    "qemu-system-x86_64",
	Kbuild:  &Kbuild{Arch: "x86_64", Target: "bzImage", Image: "arch/x86/boot/bzImage"},
}

var arm64 = &Arch{
	Name:        "arm64",
	UEFI:        []Client{ClientUEFIarm64},
	HTTP:        []Client{ClientHTTParm64},
	UBoot:       []Client{ClientUBootArm64, ClientUBootHTTParm64},
	EFI:         "aa64",
	BootCommand: "booti",
	Kexec:       true,
	Variant:     "GOARM64=v8.0",
	Debian:      "arm64",
	QEMU:        "qemu-system-aarch64",
}

// arm is 32-bit. It has kexec_load(2) alone, for which the caller would have
// to bring a device tree and code that moves the kernel into place.
var arm = &Arch{
	Name:        "arm",
	UEFI:        []Client{ClientUEFIarm32},
	HTTP:        []Client{ClientHTTParm32},
	UBoot:       []Client{ClientUBootArm, ClientUBootHTTParm},
	EFI:         "arm",
	BootCommand: "bootz",
	Variant:     "GOARM=7",
	Debian:      "armhf",
	QEMU:        "qemu-system-arm",
}

// riscv64 has no board yet. Its machines are told apart from others.
var riscv64 = &Arch{
	Name:        "riscv64",
	UEFI:        []Client{ClientUEFIriscv64},
	HTTP:        []Client{ClientHTTPriscv64},
	EFI:         "riscv64",
	BootCommand: "booti",
	Kexec:       true,
	Variant:     "GORISCV64=rva20u64",
	Debian:      "riscv64",
	QEMU:        "qemu-system-riscv64",
}

// DefaultArch is what a machine is taken for that says nothing of itself.
const DefaultArch = "amd64"

// ArchOf finds the row of a GOARCH.
func ArchOf(goarch string) (*Arch, bool) {
	for _, a := range Arches {
		if a.Name == goarch {
			return a, true
		}
	}
	return nil, false
}

// Clients are all values of option 93 with which a machine may ask.
func (a *Arch) Clients() []Client { return slices.Concat(a.BIOS, a.UEFI, a.HTTP, a.UBoot) }

// AgentClient is the option 93 that our agent sends. It depends on what
// started the machine. ClientUnknown means that no number fits.
func (a *Arch) AgentClient(efi bool) Client {
	list := slices.Concat(a.BIOS, a.UBoot)
	if efi {
		list = a.UEFI
	}
	if len(list) == 0 {
		return ClientUnknown
	}
	return list[0]
}

// EFILoader is the name under \EFI\BOOT of what UEFI firmware starts from a disk
// without a boot entry (UEFI 2.10 section 3.5.1.1).
func (a *Arch) EFILoader() string { return "BOOT" + strings.ToUpper(a.EFI) + ".EFI" }

// archIn finds the architecture of which list holds a client.
func archIn(c Client, list func(*Arch) []Client) (*Arch, bool) {
	i := slices.IndexFunc(Arches, func(a *Arch) bool { return slices.Contains(list(a), c) })
	if i < 0 {
		return nil, false
	}
	return Arches[i], true
}
