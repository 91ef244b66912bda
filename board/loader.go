package board

import (
	"strings"
	"time"
)

// A Client is a value of DHCP option 93, the client system architecture
// (RFC 4578 section 2.1). The numbers are those of IANA's registry "Processor
// Architecture Types".
type Client uint16

const (
	ClientBIOS           Client = 0
	ClientUEFIx64        Client = 7 // EDK2
	ClientUEFIx64BC      Client = 9 // x64 too, in firmware older than RFC 4578's erratum
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
	ClientHTTPriscv64    Client = 28
	ClientRPi            Client = 41
	ClientUnknown        Client = 0xffff
)

// Traits are what a DHCP packet says of the machine and of the program that
// sent it.
type Traits struct {
	Client      Client // option 93; ClientUnknown if it is missing
	UserClass   string // option 77, as text
	VendorClass string // option 60
	IPXE        []byte // option 175, iPXE's features
	NIC         uint16 // PCI vendor of the network card, from option 175; 0: not told
	GUID        []byte // option 97, without its type byte
	MAC         []byte
}

// A Loader is a program that asks for something to boot, and how it wants to
// be answered.
type Loader struct {
	Name string
	Is   func(Traits) bool

	// Files are the boot files it may be given, the best first. They are names
	// for Board.File, or Script or BootScript, which are made on the fly.
	Files []string

	// BINL: after an offer with option 60 PXEClient and without option 43 it
	// asks for its boot file on port 4011, and gives up if nobody answers there
	// (PXE 2.1 section 2.2.5; EDK2's PxeBcDhcp4.c). Other loaders take the file
	// from the ProxyDHCP offer itself.
	BINL bool

	// HTTP: it wants option 60 HTTPClient and a URL as its boot file (UEFI 2.10
	// section 24.7.3.1).
	HTTP bool

	// Vendor is the option 43 that it needs beside PXEClient in option 60. nil
	// means that it needs none.
	Vendor []byte

	// OwnNames: it asks for files by fixed names, so it is told the server and
	// no boot file. It is answered if one of Files is there.
	OwnNames bool

	// NoRequest: it uses the address of an offer without a REQUEST. So the
	// offer must hold for a whole lease.
	NoRequest bool

	// Delay is how long an answer waits before it is sent.
	Delay time.Duration

	// NoProxyWait: option 175.176 = 1 ends its wait for further ProxyDHCP
	// offers.
	NoProxyWait bool

	// Pxelinux: it hands its options on to the program it loads. That may be
	// pxelinux, so it is also told where pxelinux's configuration is (RFC 5071).
	Pxelinux bool
}

// Boot files that are made on the fly for each machine.
const (
	Script     = "boot.ipxe"     // for loaders that run iPXE's scripts
	BootScript = "boot.scr.uimg" // for U-Boot, which asks for this name
	Pxelinux   = "pxelinux.cfg"  // folder, for U-Boot's pxe command and pxelinux
)

// Network boot programs for plain PXE ROMs.
const (
	UNDI         = "undionly.kpxe" // iPXE on the ROM's own driver
	PxelinuxFile = "pxelinux.0"    // if the user put one beside the firmware
)

// What our own agent and the appliance say to each other by DHCP.
const (
	// AgentUserClass is the agent's option 77.
	AgentUserClass = "bootlace"
	// AgentVendorPrefix begins the agent's option 60. The board's name follows.
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

// Loaders is the table, from the special to the general. The first row whose Is
// returns true is the loader.
var Loaders = []*Loader{
	{
		// Our own firmware has booted already. It wants an address and a plan.
		Name: "bootlace",
		Is:   func(t Traits) bool { return t.UserClass == AgentUserClass },
	},
	{
		// iPXE sends its user class as a plain string, against RFC 3004.
		// Traits.UserClass holds the text of either form.
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
			_, uefi := archIn(t.Client, func(a *Arch) []Client { return a.UEFI })
			return uefi && isPXE(t) && !isUBoot(t)
		},
		Files: []string{UKI},
		BINL:  true,
	},
	{
		// U-Boot's default boot command asks first with its own class and
		// client number. It loads BootScript, whatever file was offered. Then
		// it asks as PXEClient:Arch:00011 (arm: 00010), still without option
		// 97, and runs the EFI program that it is offered.
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

// isUBoot recognises U-Boot, also when it boots an EFI program. EDK2 then always
// sends the machine's UUID in option 97, U-Boot never does.
func isUBoot(t Traits) bool {
	if _, ok := archIn(t.Client, func(a *Arch) []Client { return a.UBoot }); ok {
		return true
	}
	if a, ok := archIn(t.Client, func(a *Arch) []Client { return a.UEFI }); ok && a.BootCommand != "" {
		return len(t.GUID) == 0
	}
	return strings.HasPrefix(t.VendorClass, "U-Boot")
}
