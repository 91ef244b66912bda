package board

import "slices"

// qemuX8664 is a QEMU PC with virtio devices, booted by SeaBIOS and iPXE or by OVMF.
var qemuX8664 = &Board{
	Name:   "qemu-x86_64",
	Doc:    "QEMU x86_64 with virtio network and disk, BIOS or UEFI",
	Arch:   "amd64",
	Kernel: "linux-image-cloud-amd64",
	// nvme and ext4 are built in; there is no AHCI and no e1000.
	Modules: slices.Concat(virtio, filesystems),
	Console: []string{"tty0", "ttyS0,115200"},
	Cmdline: cmdline,
	Extras:  pcExtras,
	StandIn: "pc-x86_64",
	Clients: pcClients,
	// iPXE tells its card's vendor, by which a virtual machine with an e1000
	// is a PC like any other. Others do not: what sends QEMU's OUI and no
	// vendor is taken for a machine of virtio.
	OUIs: []string{qemuOUI},
	NICs: []uint16{virtioVendor},
	QEMU: &QEMU{
		Command:  "qemu-system-x86_64",
		Args:     []string{"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512"},
		NIC:      "virtio-net-pci",
		Disk:     "virtio-blk-pci",
		UEFI:     ovmfCode,
		UEFIVars: ovmfVars,
	},
}
