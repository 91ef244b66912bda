package board

import "slices"

// genericARM64 is what an unknown arm64 machine is taken for: a server or a
// single-board computer. It has UEFI, or U-Boot and its device tree.
var genericARM64 = &Board{
	Name:   "arm64",
	Doc:    "arm64 server or single-board computer, UEFI or U-Boot; what an unknown arm64 machine is taken for",
	Arch:   arm64.Name,
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
	// No console is named. Then the kernel takes the one of ACPI's SPCR table
	// or of the device tree's stdout-path.
	Cmdline: cmdline,
	Clients: arm64.Clients(),
	// With U-Boot this machine would be taken for qemu-arm64, because U-Boot in
	// QEMU gives the card a MAC of its own.
	QEMU: &QEMU{
		Args:     virtARM64,
		NIC:      "virtio-net-pci", // of which alone Debian's AAVMF has a driver
		Disk:     "nvme",
		UEFI:     aavmfCode,
		UEFIVars: aavmfVars,
	},
}

// genericARMv7 is what an unknown 32-bit ARM machine is taken for: a
// single-board computer whose U-Boot brings the device tree.
var genericARMv7 = &Board{
	Name:   "armv7",
	Doc:    "armv7 single-board computer with U-Boot; what an unknown armv7 machine is taken for",
	Arch:   arm.Name,
	Kernel: "linux-image-armmp",
	Modules: slices.Concat(virtio, []string{"virtio_mmio"}, filesystems, ext4, usbStorage, []string{
		// Allwinner, Rockchip, Amlogic and Altera (dwmac), i.MX, Marvell, TI.
		"dwmac_generic", "dwmac_sunxi", "dwmac_sun8i", "dwmac_rk", "dwmac_meson8b", "dwmac_altr_socfpga", "fec", "mvneta", "ti_cpsw",
		"realtek", "r8169", "e1000e", "igb", "smsc95xx", "r8152", "asix", "ax88179_178a", "cdc_ether", "cdc_ncm",
		"phy_generic", "ci_hdrc_imx", "dwc2", "ehci_platform", "ohci_platform", "xhci_plat_hcd",
		"ahci", "ahci_platform", "ahci_imx", "ahci_mvebu", "ahci_sunxi", "nvme",
		"mmc_block", "sunxi_mmc", "dw_mmc_pltfm", "dw_mmc_rockchip", "dw_mmc_exynos", "sdhci_esdhc_imx",
		"sdhci_pxav3", "omap_hsmmc", "sdhci_omap",
	}),
	Cmdline: cmdline, // consoles: see genericARM64
	Clients: arm.Clients(),
}
