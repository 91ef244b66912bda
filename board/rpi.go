package board

import "slices"

// A Raspberry Pi boots from the network by a program in its ROM (Pi 3) or
// EEPROM (Pi 4 and 5). The program says in option 93 that it is a BIOS PC. It
// asks by TFTP for fixed names, first in a folder named by its serial number:
// https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#network-booting
//
// bootcode.bin, start*.elf and fixup*.dat are Raspberry Pi's own. Debian has
// them in raspi-firmware, which is in non-free-firmware and not in main. A user
// copies its usr/lib/raspi-firmware/* into firmware/rpi3 and firmware/rpi4.
// config.txt and cmdline.txt are made on the fly. The device trees come from
// the kernel's package, under the names that the Pi asks for.
var rpi3 = &Board{
	Name:   "rpi3",
	Doc:    "Raspberry Pi 3; needs bootcode.bin, start.elf and fixup.dat of raspi-firmware",
	Arch:   arm64.Name,
	Kernel: "linux-image-arm64",
	Modules: slices.Concat([]string{
		"phy_generic", "dwc2", "microchip", "smsc95xx", "lan78xx", // its network is on USB
		"mmc_block", "sdhci_iproc", "bcm2835", "sd_mod", "usb_storage", "uas",
		"bcm2835_rng", "bcm2835_wdt",
	}, filesystems, ext4),
	// ttyS1 is the mini UART in Debian's kernel, behind UEFI and U-Boot too.
	Console: []string{"tty0", "ttyS1,115200"},
	Cmdline: cmdline,
	Trees: map[string]string{
		"bcm2710-rpi-3-b.dtb":      "broadcom/bcm2837-rpi-3-b.dtb",
		"bcm2710-rpi-3-b-plus.dtb": "broadcom/bcm2837-rpi-3-b-plus.dtb",
	},
	StandIn: "arm64",
	// Its network chips buffer 20 KB (LAN9514) and 12 KB (LAN7515) until USB
	// fetches the data. 12 KB are eight blocks of 1468 bytes.
	Windowsize: 8,
	Pi:         "pi3",
	Clients:    rpiClients,
	OUIs:       []string{"b8:27:eb"},
}

var rpi4 = &Board{
	Name:   "rpi4",
	Doc:    "Raspberry Pi 4, 400 and Compute Module 4; needs start4.elf and fixup4.dat of raspi-firmware",
	Arch:   arm64.Name,
	Kernel: "linux-image-arm64",
	Modules: slices.Concat([]string{
		"broadcom", "bcm7xxx", "genet",
		"reset_raspberrypi", "xhci_pci", "usb_storage", "uas", "sd_mod",
		"mmc_block", "sdhci_iproc", "bcm2835", "nvme",
		"iproc_rng200", "bcm2835_wdt",
	}, filesystems, ext4),
	Console: []string{"tty0", "ttyS1,115200"},
	Cmdline: cmdline,
	Trees: map[string]string{
		"bcm2711-rpi-4-b.dtb": "broadcom/bcm2711-rpi-4-b.dtb",
		"bcm2711-rpi-400.dtb": "broadcom/bcm2711-rpi-400.dtb",
		"bcm2711-rpi-cm4.dtb": "broadcom/bcm2711-rpi-cm4-io.dtb",
	},
	StandIn: "arm64",
	Pi:      "pi4",
	Clients: rpiClients,
	GUID:    "RPi4",
	OUIs:    []string{"dc:a6:32", "e4:5f:01", "d8:3a:dd"},
}

// rpi5 has its network card behind the RP1 chip. Linux has drivers for it from
// 6.17 on. Debian 12 has 6.1, Debian 13 has 6.12.
var rpi5 = &Board{
	Name:    "rpi5",
	Doc:     "Raspberry Pi 5; recognised and served a kernel of one's own",
	Arch:    arm64.Name,
	Unbuilt: "Debian's kernel has no driver for the network card of a Raspberry Pi 5",
	Console: []string{"tty0", "ttyAMA10,115200"},
	Cmdline: cmdline,
	Pi:      "pi5",
	Clients: rpiClients,
	GUID:    "RPi5",
	OUIs:    []string{"2c:cf:67", "88:a2:9e"},
}

// rpiClients are the Pi's own firmware, and EDK2 and U-Boot on a Pi.
var rpiClients = []Client{ClientBIOS, ClientRPi, ClientUEFIarm64, ClientHTTParm64, ClientUBootArm64}

// rpiFiles are files of which one has to be there for a Pi to boot.
var rpiFiles = []string{Kernel, "config.txt", "bootcode.bin", "start4.elf"}

// isRPi recognises the boot program of a Raspberry Pi, which says that it is a
// BIOS PC. Option 60 does not count, since a Pi 4's REQUEST has none.
func isRPi(t Traits) bool {
	if t.Client != ClientBIOS && t.Client != ClientRPi {
		return false
	}
	b := recognise(t)
	return b != nil && b.Pi != ""
}

// Option 43 for a Pi's boot programs, which look for the text alone. It is
// PXE_DISCOVERY_CONTROL 3 (ask nobody), the prompt of a menu, a menu of one
// line, and the end byte (PXE 2.1 sections 2.4.3 to 2.4.5). The oldest ROMs of
// a Pi 3 want three spaces behind the text. They may also stop at an answer
// that comes too fast, which is why dnsmasq has --dhcp-reply-delay.
var (
	rpiVendor  = []byte("\x06\x01\x03" + "\x0a\x04\x00PXE" + "\x09\x14\x00\x00\x11Raspberry Pi Boot" + "\xff")
	rpi3Vendor = []byte("\x06\x01\x03" + "\x0a\x04\x00PXE" + "\x09\x17\x00\x00\x14Raspberry Pi Boot   " + "\xff")
)
