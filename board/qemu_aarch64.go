package board

import "slices"

// qemuARM64 is QEMU's machine "virt" with virtio devices, booted by AAVMF or U-Boot.
var qemuARM64 = &Board{
	Name:   "qemu-arm64",
	Doc:    "QEMU arm64 with virtio network and disk, UEFI or U-Boot",
	Arch:   "arm64",
	Kernel: "linux-image-cloud-arm64",
	// nvme and ext4 are built in; there is no AHCI, USB or MMC.
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems),
	Console: []string{"tty0", "ttyAMA0,115200"},
	Cmdline: cmdline,
	StandIn: "arm64",
	Clients: arm64Clients,
	OUIs:    []string{qemuOUI, ubootOUI},
	NICs:    []uint16{virtioVendor},
	QEMU: &QEMU{
		Command: "qemu-system-aarch64",
		// Emulating a newer core costs more: cortex-a72 starts in a fifth of
		// the time that max takes. One core alone is unsteady.
		Args:     []string{"-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a72", "-smp", "2", "-m", "512"},
		NIC:      "virtio-net-pci",
		Disk:     "virtio-blk-pci",
		UEFI:     "/usr/share/AAVMF/AAVMF_CODE.fd",
		UEFIVars: "/usr/share/AAVMF/AAVMF_VARS.fd",
		UBoot:    "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
	},
}

// ubootOUI is what U-Boot gives the network cards of QEMU's machines "virt",
// whatever address QEMU was told: 52:52:52:52:52:52.
const ubootOUI = "52:52:52"
