package board

import (
	"bytes"
	"strings"
)

// A Client is a value of DHCP option 93, the client system architecture
// (RFC 4578 section 2.1, numbers from IANA's registry).
type Client uint16

const (
	ClientBIOS        Client = 0
	ClientUEFIx64     Client = 7 // EDK2; the registry calls 7 "x64 UEFI"
	ClientUEFIx64BC   Client = 9 // the same machines, from firmware that read RFC 4578 before its erratum
	ClientUEFIarm32   Client = 10
	ClientUEFIarm64   Client = 11
	ClientHTTPx64     Client = 16
	ClientHTTParm64   Client = 19
	ClientUBootArm    Client = 21
	ClientUBootArm64  Client = 22
	ClientBIOSHTTP    Client = 20
	ClientUEFIriscv64 Client = 27
	ClientHTTPriscv64 Client = 28
	ClientUnknown     Client = 0xffff
)

// Traits is what a DHCP packet says of the machine and program that sent it.
type Traits struct {
	Client      Client // option 93; ClientUnknown where it is missing
	UserClass   string // option 77, as text
	VendorClass string // option 60
	IPXE        []byte // option 175, iPXE's features
	GUID        []byte // option 97, without its type byte
	MAC         []byte
}

// A Loader is a program that asks for something to boot, and what it wants to hear.
type Loader struct {
	Name string
	Is   func(Traits) bool

	Files []string // what it may be given, in order; a name of Board.File, or Script

	// BINL: it takes option 60 PXEClient without option 43 as the word to ask
	// for its boot file on port 4011 (PXE 2.1 section 2.2.5; EDK2's
	// PxeBcDhcp4.c), and gives up when nobody answers there. A loader without
	// it takes the file from the ProxyDHCP offer itself.
	BINL bool

	// NoProxyWait: option 175.176 = 1 ends its wait for other ProxyDHCP offers.
	NoProxyWait bool

	// LocalDisk: a script can send it to the disk; others need our firmware
	// and BootNext.
	LocalDisk bool
}

// Script is the boot file of loaders that run iPXE scripts; it is made on the fly.
const Script = "boot.ipxe"

// UserClass is what our own agent says of itself in option 77.
const UserClass = "bootlace"

// Loaders is tried in order; the first that matches is it.
var Loaders = []*Loader{
	{
		// Our own firmware: it has booted already and wants an address and a plan.
		Name: "bootlace",
		Is:   func(t Traits) bool { return t.UserClass == UserClass },
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
		LocalDisk:   true,
	},
	{
		Name: "uefi-pxe",
		Is: func(t Traits) bool {
			switch t.Client {
			case ClientUEFIx64, ClientUEFIx64BC, ClientUEFIarm64, ClientUEFIarm32, ClientUEFIriscv64:
				return isPXE(t)
			}
			return false
		},
		Files: []string{UKI},
		BINL:  true,
	},
	{
		// A plain PXE ROM runs only a network boot program; there is none for
		// it yet, so it is recognised, named in the journal and not answered.
		Name: "pxe-bios",
		Is:   func(t Traits) bool { return t.Client == ClientBIOS && isPXE(t) },
	},
}

func isIPXE(t Traits) bool { return t.UserClass == "iPXE" || len(t.IPXE) > 0 }

func isPXE(t Traits) bool { return strings.HasPrefix(t.VendorClass, "PXEClient") }

// Recognise tells the board a machine is taken for and the loader that asks.
// Either is nil where nothing in the tables fits.
func Recognise(t Traits) (*Board, *Loader) {
	var board *Board
	for _, b := range Boards {
		if b.has(t) {
			board = b
			break
		}
	}
	for _, l := range Loaders {
		if l.Is(t) {
			return board, l
		}
	}
	return board, nil
}

func (b *Board) has(t Traits) bool {
	if name, ok := bytes.CutPrefix([]byte(t.VendorClass), []byte(VendorClass)); ok {
		return string(name) == b.Name
	}
	for _, c := range b.Clients {
		if c == t.Client {
			return true
		}
	}
	return false
}

// VendorClass starts option 60 of our own agent; the board's name follows.
const VendorClass = "bootlace:"
