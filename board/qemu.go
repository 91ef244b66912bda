package board

import "slices"

// qemuX8664 is a QEMU PC with virtio devices, booted by SeaBIOS and iPXE or by
// OVMF.
var qemuX8664 = &Board{
	Name:   "qemu-x86_64",
	Doc:    "QEMU x86_64 with virtio network and disk, BIOS or UEFI",
	Arch:   amd64.Name,
	Kernel: "linux-image-cloud-amd64",
	// nvme and ext4 are built in; there is no AHCI and no e1000.
	Modules: slices.Concat(virtio, filesystems),
	Console: []string{"tty0", "ttyS0,115200"},
	Cmdline: cmdline,
	Extras:  pcExtras,
	StandIn: "pc-x86_64",
	Clients: amd64.Clients(),
	// iPXE tells the vendor of its card, by which a virtual machine with an
	// e1000 is a PC like any other. Other loaders do not. A machine with QEMU's
	// OUI and no vendor is taken for one with virtio.
	OUIs: []string{qemuOUI},
	NICs: []uint16{virtioVendor},
	QEMU: &QEMU{
		Args:     q35,
		NIC:      "virtio-net-pci",
		Disk:     "virtio-blk-pci",
		BIOS:     true,
		UEFI:     ovmfCode,
		UEFIVars: ovmfVars,
	},
}

// q35 is QEMU's PC. With graphics=off SeaBIOS repeats its text on the serial
// port, iPXE's included.
var q35 = []string{"-machine", "q35,graphics=off", "-vga", "std", "-accel", "tcg", "-cpu", "max", "-m", "512"}

// qemuARM64 is QEMU's machine "virt" with virtio devices, booted by AAVMF or
// U-Boot.
var qemuARM64 = &Board{
	Name:   "qemu-arm64",
	Doc:    "QEMU arm64 with virtio network and disk, UEFI or U-Boot",
	Arch:   arm64.Name,
	Kernel: "linux-image-cloud-arm64",
	// nvme and ext4 are built in; there is no AHCI, USB or MMC.
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems),
	Console: []string{"tty0", "ttyAMA0,115200"},
	Cmdline: cmdline,
	StandIn: "arm64",
	Clients: arm64.Clients(),
	OUIs:    []string{qemuOUI, ubootOUI},
	NICs:    []uint16{virtioVendor},
	QEMU: &QEMU{
		Args:     virtARM64,
		NIC:      "virtio-net-pci",
		Disk:     "virtio-blk-pci",
		UEFI:     aavmfCode,
		UEFIVars: aavmfVars,
		UBoot:    "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
	},
}

// virtARM64 is QEMU's arm64 machine. A cortex-a72 starts in a fifth of the time
// of -cpu max, whose newer features are costly to emulate. With a single
// processor its timing is unsteady.
var virtARM64 = []string{"-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a72", "-smp", "2", "-m", "512"}

// ubootOUI begins the MAC that U-Boot gives the network cards of QEMU's
// machines "virt", whatever QEMU was told: 52:52:52:52:52:52.
const ubootOUI = "52:52:52"

// qemuARM is QEMU's 32-bit machine "virt" with virtio devices, booted by
// U-Boot.
var qemuARM = &Board{
	Name:   "qemu-arm",
	Doc:    "QEMU armv7 with virtio network and disk, U-Boot",
	Arch:   arm.Name,
	Kernel: "linux-image-armmp",
	// ext4 would be a third of the initramfs. A BOOTLACE disk of this board
	// has FAT.
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems),
	Console: []string{"tty0", "ttyAMA0,115200"},
	Cmdline: cmdline,
	StandIn: "armv7",
	Clients: arm.Clients(),
	OUIs:    []string{qemuOUI, ubootOUI},
	QEMU: &QEMU{
		// highmem=off: U-Boot and an armmp kernel without LPAE reach no PCI
		// window above 4 GiB.
		Args:  []string{"-machine", "virt,highmem=off", "-accel", "tcg", "-cpu", "cortex-a15", "-m", "512"},
		NIC:   "virtio-net-pci",
		Disk:  "virtio-blk-pci",
		UBoot: "/usr/lib/u-boot/qemu_arm/u-boot.bin",
	},
}

// Firmware in Debian's packages ovmf and qemu-efi-aarch64.
const (
	ovmfCode  = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars  = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	aavmfCode = "/usr/share/AAVMF/AAVMF_CODE.fd"
	aavmfVars = "/usr/share/AAVMF/AAVMF_VARS.fd"
)
