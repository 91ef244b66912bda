package board

import "slices"

// pcX8664 is a PC or a server: what an unknown x86_64 machine is taken for.
// Its kernel has every driver; of these go along those for wired network cards
// and disks that are common and run without a firmware file of their own.
// Debian's main archive has none of those files, which rules out bnx2 and
// bnx2x; ice and mlx5_core alone would double the initramfs.
var pcX8664 = &Board{
	Name:   "pc-x86_64",
	Doc:    "PC, server or virtual machine, BIOS or UEFI; what an unknown x86_64 machine is taken for",
	Arch:   "amd64",
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
	Clients: pcClients,
	QEMU: &QEMU{
		Command:  "qemu-system-x86_64",
		Args:     []string{"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512"},
		NIC:      "e1000",
		Disk:     "ide-hd", // on q35's AHCI
		UEFI:     ovmfCode,
		UEFIVars: ovmfVars,
	},
}

var pcClients = []Client{ClientBIOS, ClientUEFIx64, ClientUEFIx64BC, ClientHTTPx64}

// pcExtras: what a plain PXE ROM runs. It lies where the machine's other
// firmware is, so that one folder is the whole of it.
var pcExtras = []Extra{{Name: UNDI, Package: "ipxe", Path: "usr/lib/ipxe/undionly.kpxe"}}

// usbStorage is sticks and disks on USB, behind any of the usual controllers
// that sit on PCI.
var usbStorage = []string{"xhci_pci", "ehci_pci", "ohci_pci", "usb_storage", "uas"}

// Firmware in Debian's package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)
