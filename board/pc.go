package board

import "slices"

// pcX8664 is a PC or a server: what an unknown x86_64 machine is taken for.
//
// Its initramfs has the drivers of common wired network cards and disks. None
// of them needs a firmware file, because Debian's main archive has no such
// files. That rules out bnx2 and bnx2x. ice and mlx5_core alone would double
// the size.
var pcX8664 = &Board{
	Name:   "pc-x86_64",
	Doc:    "PC, server or virtual machine, BIOS or UEFI; what an unknown x86_64 machine is taken for",
	Arch:   amd64.Name,
	Kernel: "linux-image-amd64",
	Modules: slices.Concat(virtio, filesystems, ext4, usbStorage, []string{
		"e1000", "e1000e", "igb", "igc", "ixgbe", "i40e", // Intel
		"realtek", "r8169", "8139too", "8139cp", // Realtek
		"broadcom", "tg3", // Broadcom
		"sky2", "alx", "atl1c", "atlantic", "forcedeth", // Marvell, Qualcomm, Aquantia, NVIDIA
		"vmxnet3", "hv_vmbus", "hv_netvsc", "ena", "pcnet32", // VMware, Hyper-V, Amazon, old VirtualBox
		"r8152", "asix", "ax88179_178a", "cdc_ether", "cdc_ncm", // USB adapters and docks
		"uhci_hcd",
		"ahci", "ata_piix", "ata_generic", "nvme", "vmd",
		"vmw_pvscsi", "mptspi", "hv_storvsc", "megaraid_sas", "mpt3sas",
		"mmc_block", "sdhci_pci", "sdhci_acpi",
	}),
	Console: []string{"tty0", "ttyS0,115200"},
	Cmdline: cmdline,
	Extras:  pcExtras,
	Clients: amd64.Clients(),
	QEMU: &QEMU{
		Args:     q35,
		NIC:      "e1000",
		Disk:     "ide-hd", // on q35's AHCI
		BIOS:     true,
		UEFI:     ovmfCode,
		UEFIVars: ovmfVars,
	},
}

// pcExtras is what a plain PXE ROM loads. It lies beside the board's other
// files, so that one folder holds everything.
var pcExtras = []Extra{{Name: UNDI, Package: "ipxe", Path: "usr/lib/ipxe/undionly.kpxe"}}

// usbStorage has the drivers of USB disks behind the usual PCI controllers.
var usbStorage = []string{"xhci_pci", "ehci_pci", "ohci_pci", "usb_storage", "uas"}
