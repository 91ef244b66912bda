package board

import "slices"

// genericARMv7 is what an unknown 32-bit ARM machine is taken for: a
// single-board computer whose U-Boot brings the device tree.
var genericARMv7 = &Board{
	Name:   "armv7",
	Doc:    "armv7 single-board computer with U-Boot; what an unknown armv7 machine is taken for",
	Arch:   "arm",
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
	Cmdline: cmdline, // its consoles: as for arm64
	Clients: armClients,
}

var armClients = []Client{ClientUEFIarm32, ClientHTTParm32, ClientUBootArm, ClientUBootHTTParm}
