package board

import (
	"strings"
	"time"
)

// A Client is a value of DHCP option 93, the client system architecture
// (RFC 4578 section 2.1, numbers from IANA's registry of processor
// architecture types).
type Client uint16

const (
	ClientBIOS           Client = 0
	ClientUEFIx64        Client = 7 // EDK2; the registry calls 7 "x64 UEFI"
	ClientUEFIx64BC      Client = 9 // the same machines, from firmware that read RFC 4578 before its erratum
	ClientUEFIarm32      Client = 10
	ClientUEFIarm64      Client = 11
	ClientHTTPx64        Client = 16
	ClientHTTParm32      Client = 18
	ClientHTTParm64      Client = 19
	ClientUBootArm       Client = 21
	ClientUBootArm64     Client = 22
	ClientUBootHTTParm   Client = 23
	ClientUBootHTTParm64 Client = 24
	ClientUEFIriscv64    Client = 27
	ClientRPi            Client = 41
	ClientUnknown        Client = 0xffff
)

// Traits is what a DHCP packet says of the machine and program that sent it.
type Traits struct {
	Client      Client // option 93; ClientUnknown where it is missing
	UserClass   string // option 77, as text
	VendorClass string // option 60
	IPXE        []byte // option 175, iPXE's features
	NIC         uint16 // PCI vendor of the network card, from option 175; 0: not told
	GUID        []byte // option 97, without its type byte
	MAC         []byte
}

// A Loader is a program that asks for something to boot, and what it wants to hear.
type Loader struct {
	Name string
	Is   func(Traits) bool

	// Files is what it may be given, in order: names of Board.File, or Script
	// or BootScript, which are made on the fly.
	Files []string

	// BINL: it takes option 60 PXEClient without option 43 as the word to ask
	// for its boot file on port 4011 (PXE 2.1 section 2.2.5; EDK2's
	// PxeBcDhcp4.c), and gives up when nobody answers there. A loader without
	// it takes the file from the ProxyDHCP offer itself.
	BINL bool

	// HTTP: it wants option 60 HTTPClient and a URL for its boot file (UEFI
	// 2.10 section 24.7.3.1).
	HTTP bool

	// Vendor is what option 43 must say to it, beside PXEClient in option 60;
	// nil: nothing of its own.
	Vendor []byte

	// OwnNames: it asks for files by names of its own, and is told where they
	// are and no boot file. Files is then what makes it worth an answer.
	OwnNames bool

	// NoRequest: it uses the address that it was offered without a REQUEST, so
	// the offer has to be good for the whole lease.
	NoRequest bool

	// Delay is how long an answer waits before it is sent.
	Delay time.Duration

	// NoProxyWait: option 175.176 = 1 ends its wait for other ProxyDHCP offers.
	NoProxyWait bool

	// Pxelinux: it hands what it was told to the program it loads, which may be
	// pxelinux: that one is told where its configuration is (RFC 5071).
	Pxelinux bool
}

// Boot files that are made on the fly, a machine's own each.
const (
	Script     = "boot.ipxe"     // for loaders that run iPXE's scripts
	BootScript = "boot.scr.uimg" // for U-Boot, which asks for it by this name
	Pxelinux   = "pxelinux.cfg"  // folder of what U-Boot's pxe and pxelinux ask
)

// Network boot programs for plain PXE ROMs.
const (
	UNDI         = "undionly.kpxe" // iPXE on the ROM's own driver
	PxelinuxFile = "pxelinux.0"    // where the user put one beside the firmware
)

// What our own agent and the appliance say to each other by DHCP.
const (
	// AgentUserClass is the agent's option 77.
	AgentUserClass = "bootlace"
	// AgentVendorPrefix starts the agent's option 60. The board's name follows.
	AgentVendorPrefix = "bootlace:"
	// ApplianceClass is option 60 of an answer to the agent. It says that the
	// offer is the appliance's, whose address is siaddr, else option 54.
	ApplianceClass = "bootlace"
)

// What firmware says in option 60, and wants to hear there (PXE 2.1 section
// 2.2.3, UEFI 2.10 section 24.7.3.1).
const (
	PXEClass  = "PXEClient"
	HTTPClass = "HTTPClient"
)

// Loaders is tried in order; the first that matches is it.
var Loaders = []*Loader{
	{
		// Our own firmware: it has booted already and wants an address and a plan.
		Name: "bootlace",
		Is:   func(t Traits) bool { return t.UserClass == AgentUserClass },
	},
	{
		// iPXE sends its user class as a raw string, against RFC 3004, so
		// Traits.UserClass takes both forms.
		Name:        "ipxe-efi",
		Is:          func(t Traits) bool { return isIPXE(t) && t.Client != ClientBIOS },
		Files:       []string{Script},
		NoProxyWait: true,
	},
	{
		Name:        "ipxe",
		Is:          isIPXE,
		Files:       []string{Script},
		NoProxyWait: true,
	},
	{
		Name:  "uefi-http",
		Is:    func(t Traits) bool { return strings.HasPrefix(t.VendorClass, HTTPClass) },
		Files: []string{UKI},
		HTTP:  true,
	},
	{
		Name:      "rpi3",
		Is:        func(t Traits) bool { return isRPi(t) && recognise(t) == rpi3 },
		Files:     rpiFiles,
		OwnNames:  true,
		Vendor:    rpi3Vendor,
		NoRequest: true,
		Delay:     time.Second,
	},
	{
		Name:     "rpi",
		Is:       isRPi,
		Files:    rpiFiles,
		OwnNames: true,
		Vendor:   rpiVendor,
	},
	{
		Name: "uefi-pxe",
		Is: func(t Traits) bool {
			switch t.Client {
			case ClientUEFIx64, ClientUEFIx64BC, ClientUEFIarm64, ClientUEFIarm32, ClientUEFIriscv64:
				return isPXE(t) && !isUBoot(t)
			}
			return false
		},
		Files: []string{UKI},
		BINL:  true,
	},
	{
		// U-Boot's own boot command asks first with its own class and
		// architecture and loads BootScript, whatever file was offered. Then
		// it says PXEClient:Arch:00011 (arm: 00010), still without option 97,
		// and runs the EFI program offered.
		Name:  "uboot",
		Is:    func(t Traits) bool { return isUBoot(t) && !isPXE(t) },
		Files: []string{BootScript},
	},
	{
		Name:  "uboot-efi",
		Is:    isUBoot,
		Files: []string{UKI},
	},
	{
		Name:     "pxe-bios",
		Is:       func(t Traits) bool { return t.Client == ClientBIOS && isPXE(t) },
		Files:    []string{UNDI, PxelinuxFile},
		Pxelinux: true,
	},
}

func isIPXE(t Traits) bool { return t.UserClass == "iPXE" || len(t.IPXE) > 0 }

func isPXE(t Traits) bool { return strings.HasPrefix(t.VendorClass, PXEClass) }

// isUBoot: EDK2 says what machine it is in option 97, always; U-Boot behind its
// EFI face does not.
func isUBoot(t Traits) bool {
	switch t.Client {
	case ClientUBootArm, ClientUBootArm64, ClientUBootHTTParm, ClientUBootHTTParm64:
		return true
	case ClientUEFIarm32, ClientUEFIarm64, ClientUEFIriscv64:
		return len(t.GUID) == 0
	}
	return strings.HasPrefix(t.VendorClass, "U-Boot")
}
