package board

import "slices"

// genericARM64 is what an unknown arm64 machine is taken for: a server or a
// single-board computer with UEFI, or with U-Boot, which brings the device
// tree.
var genericARM64 = &Board{
	Name:   "arm64",
	Doc:    "arm64 server or single-board computer, UEFI or U-Boot; what an unknown arm64 machine is taken for",
	Arch:   "arm64",
	Kernel: "linux-image-arm64",
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems, ext4, usbStorage, []string{
		"e1000", "e1000e", "igb", "igc", "ixgbe", "i40e", "realtek", "r8169", "broadcom", "tg3", "atlantic", "ena", "vmxnet3",
		"r8152", "asix", "ax88179_178a", "cdc_ether", "cdc_ncm",
		// Network cards of systems on a chip: Rockchip, Allwinner, Amlogic
		// and NXP's i.MX 8 (dwmac), Xilinx, NXP, Marvell, Socionext.
		"dwmac_generic", "dwmac_rk", "dwmac_sun8i", "dwmac_meson8b", "dwmac_imx", "macb", "fec", "mvneta", "mvpp2", "fsl_dpaa2_eth", "netsec",
		"ahci", "ahci_platform", "nvme",
		"mmc_block", "sdhci_pci", "sdhci_acpi", "sdhci_of_arasan", "sdhci_of_dwcmshc", "sdhci_esdhc_imx",
		"dw_mmc_pltfm", "dw_mmc_rockchip", "sunxi_mmc", "meson_gx_mmc", "sdhci_xenon_driver",
	}),
	// Firmware says where the serial console is, by ACPI's SPCR table or the
	// device tree's stdout-path, as long as no console is named.
	Cmdline: cmdline,
	Clients: arm64Clients,
	// By U-Boot it would be taken for qemu-arm64, whose address that gives itself.
	QEMU: &QEMU{
		Command:  "qemu-system-aarch64",
		Args:     []string{"-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a72", "-smp", "2", "-m", "512"},
		NIC:      "virtio-net-pci", // of which alone Debian's AAVMF has a driver
		Disk:     "nvme",
		UEFI:     "/usr/share/AAVMF/AAVMF_CODE.fd",
		UEFIVars: "/usr/share/AAVMF/AAVMF_VARS.fd",
	},
}

var arm64Clients = []Client{ClientUEFIarm64, ClientHTTParm64, ClientUBootArm64, ClientUBootHTTParm64}
