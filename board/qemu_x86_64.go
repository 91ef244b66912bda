package board

// qemuX8664 is a QEMU PC with virtio devices, booted by SeaBIOS and iPXE or by OVMF.
var qemuX8664 = &Board{
	Name:   "qemu-x86_64",
	Doc:    "QEMU x86_64 with virtio network and disk, BIOS or UEFI",
	Arch:   "amd64",
	Kernel: "linux-image-cloud-amd64",
	// virtio's parts are modules in Debian's cloud kernel; nvme and ext4 are
	// built in. vfat and its code pages read the BOOTLACE store and the ESP,
	// efivarfs sets BootNext.
	Modules: []string{
		"virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "virtio_rng",
		"sd_mod", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "efivarfs",
	},
	Console: []string{"tty0", "ttyS0,115200"},
	// The appliance and the agent own the devices: no console blanking, and a
	// kernel that dies says so and starts again.
	Cmdline: "consoleblank=0 panic=10",
	Clients: []Client{ClientBIOS, ClientUEFIx64, ClientUEFIx64BC},
	QEMU: &QEMU{
		Command: "qemu-system-x86_64",
		Args:    []string{"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512"},
		NIC:     "virtio-net-pci",
		Disk:    "virtio-blk-pci",
	},
}
