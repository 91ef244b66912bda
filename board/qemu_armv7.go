package board

import "slices"

// qemuARM is QEMU's 32-bit machine "virt" with virtio devices, booted by U-Boot.
var qemuARM = &Board{
	Name:   "qemu-arm",
	Doc:    "QEMU armv7 with virtio network and disk, U-Boot",
	Arch:   "arm",
	Kernel: "linux-image-armmp",
	// ext4 would be a third of the initramfs: a BOOTLACE store on this board
	// has FAT.
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems),
	Console: []string{"tty0", "ttyAMA0,115200"},
	Cmdline: cmdline,
	StandIn: "armv7",
	Clients: armClients,
	OUIs:    []string{qemuOUI, ubootOUI},
	QEMU: &QEMU{
		Command: "qemu-system-arm",
		// highmem=off: U-Boot and an armmp kernel without LPAE reach no PCI
		// window above 4 GiB.
		Args:  []string{"-machine", "virt,highmem=off", "-accel", "tcg", "-cpu", "cortex-a15", "-m", "512"},
		NIC:   "virtio-net-pci",
		Disk:  "virtio-blk-pci",
		UBoot: "/usr/lib/u-boot/qemu_arm/u-boot.bin",
	},
}
