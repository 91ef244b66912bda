package board

import (
	"net"
	"slices"
	"strings"
	"testing"
)

// What every row of the table must have, a new one too.
func TestBoards(t *testing.T) {
	var names []string
	for _, b := range Boards {
		t.Run(b.Name, func(t *testing.T) {
			if b.Name == "" || strings.ContainsAny(b.Name, " /\\") || slices.Contains(names, b.Name) {
				t.Errorf("name %q", b.Name)
			}
			names = append(names, b.Name)
			if b.Doc == "" || b.Arch == "" || len(b.Clients) == 0 {
				t.Errorf("%s: incomplete", b.Name)
			}
			if built := b.Kernel != "" && len(b.Modules) > 0; built != (b.Unbuilt == "") {
				t.Errorf("%s: kernel %q, %d modules, unbuilt %q", b.Name, b.Kernel, len(b.Modules), b.Unbuilt)
			}
			line := strings.Fields(b.CommandLine())
			if !slices.Contains(line, "panic=10") || len(b.Console) > 0 && line[0] != "console="+b.Console[0] {
				t.Errorf("%s: command line %q", b.Name, line)
			}
			seen := map[string]bool{}
			for _, m := range b.Modules {
				if m == "" || seen[m] || strings.ContainsAny(m, "- ./") {
					t.Errorf("%s: module %q", b.Name, m)
				}
				seen[m] = true
			}
			for _, oui := range b.OUIs {
				if hw, err := net.ParseMAC(oui + ":00:00:00"); err != nil || hw.String() != oui+":00:00:00" {
					t.Errorf("%s: OUI %q: %v", b.Name, oui, err)
				}
			}
			if in, ok := ByName(b.StandIn); b.StandIn != "" && (!ok || in.Arch != b.Arch || in.Unbuilt != "" || in.StandIn != "") {
				t.Errorf("%s: stand-in %q", b.Name, b.StandIn)
			}
			if got, ok := ByName(b.Name); !ok || got != b {
				t.Errorf("ByName(%q) = %v, %v", b.Name, got, ok)
			}
			if b.QEMU != nil && (len(b.QEMU.Args) == 0 || b.QEMU.NIC == "" || b.QEMU.Disk == "") {
				t.Errorf("%s: QEMU incomplete", b.Name)
			}
			// Our agent on it is known by name, whatever else it says.
			if got, _ := Recognise(Traits{Client: ClientUnknown, UserClass: AgentUserClass, VendorClass: AgentVendorPrefix + b.Name}); got != b {
				t.Errorf("its agent is taken for %v", got)
			}
		})
	}
}

// A board is found by what its own row says. No row before it hides it.
func TestBoardsAreFound(t *testing.T) {
	stranger := []byte{0x00, 0x1b, 0x21, 1, 2, 3}
	for _, b := range Boards {
		t.Run(b.Name, func(t *testing.T) {
			traits := Traits{MAC: stranger}
			if len(b.NICs) > 0 {
				traits.NIC = b.NICs[0]
			}
			macs := [][]byte{stranger}
			if len(b.OUIs) > 0 {
				macs = nil
			}
			for _, oui := range b.OUIs {
				hw, err := net.ParseMAC(oui + ":01:02:03")
				if err != nil {
					t.Fatal(err)
				}
				macs = append(macs, hw)
			}
			for _, traits.Client = range b.Clients {
				for _, traits.MAC = range macs {
					if got, _ := Recognise(traits); got != b {
						t.Errorf("%s by option 93 of %d and %x: taken for %v", b.Name, traits.Client, traits.MAC, got)
					}
				}
				if b.GUID != "" {
					byGUID := Traits{Client: traits.Client, MAC: stranger, GUID: []byte(b.GUID)}
					if got, _ := Recognise(byGUID); got != b {
						t.Errorf("%s by its UUID: taken for %v", b.Name, got)
					}
				}
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	const pxe = "PXEClient:Arch:00000:UNDI:002001"
	var (
		intel = []byte{0x00, 0x1b, 0x21, 1, 2, 3}
		qemu  = []byte{0x52, 0x54, 0, 1, 2, 3}
		uboot = []byte{0x52, 0x52, 0x52, 0x52, 0x52, 0x52}
		pi4   = []byte{0xdc, 0xa6, 0x32, 1, 2, 3}
		guid  = make([]byte, 16)
	)
	for _, test := range []struct {
		name          string
		traits        Traits
		board, loader string
	}{
		{"plain DHCP client", Traits{Client: ClientUnknown, VendorClass: "dhcpcd-9.4"}, "", ""},
		{"PXE ROM", Traits{Client: ClientBIOS, VendorClass: pxe, MAC: intel}, "pc-x86_64", "pxe-bios"},
		{"iPXE by BIOS", Traits{Client: ClientBIOS, VendorClass: pxe, UserClass: "iPXE", MAC: intel}, "pc-x86_64", "ipxe"},
		{"iPXE by its features", Traits{Client: ClientBIOS, VendorClass: pxe, IPXE: []byte{1}, MAC: intel}, "pc-x86_64", "ipxe"},
		{"iPXE by UEFI", Traits{Client: ClientUEFIx64, VendorClass: pxe, UserClass: "iPXE", MAC: intel}, "pc-x86_64", "ipxe-efi"},
		{"QEMU with virtio", Traits{Client: ClientBIOS, UserClass: "iPXE", NIC: 0x1af4, MAC: qemu}, "qemu-x86_64", "ipxe"},
		{"QEMU with e1000", Traits{Client: ClientBIOS, UserClass: "iPXE", NIC: 0x8086, MAC: qemu}, "pc-x86_64", "ipxe"},
		{"QEMU, card not told", Traits{Client: ClientUEFIx64, VendorClass: pxe, MAC: qemu}, "qemu-x86_64", "uefi-pxe"},
		{"UEFI, 7", Traits{Client: ClientUEFIx64, VendorClass: pxe, MAC: intel}, "pc-x86_64", "uefi-pxe"},
		{"UEFI, 9", Traits{Client: ClientUEFIx64BC, VendorClass: pxe, MAC: intel}, "pc-x86_64", "uefi-pxe"},
		{"UEFI HTTP", Traits{Client: ClientHTTPx64, VendorClass: "HTTPClient:Arch:00016:UNDI:003001", MAC: intel}, "pc-x86_64", "uefi-http"},
		{"arm64 UEFI", Traits{Client: ClientUEFIarm64, VendorClass: pxe, GUID: guid, MAC: intel}, "arm64", "uefi-pxe"},
		{"arm64 UEFI HTTP", Traits{Client: ClientHTTParm64, VendorClass: "HTTPClient:Arch:00019:UNDI:003001", GUID: guid, MAC: qemu}, "qemu-arm64", "uefi-http"},
		{"U-Boot arm64", Traits{Client: ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: intel}, "arm64", "uboot"},
		{"U-Boot arm64 in QEMU", Traits{Client: ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: uboot}, "qemu-arm64", "uboot"},
		{"U-Boot arm64 as EFI", Traits{Client: ClientUEFIarm64, VendorClass: "PXEClient:Arch:00011:UNDI:003000", MAC: uboot}, "qemu-arm64", "uboot-efi"},
		{"U-Boot arm", Traits{Client: ClientUBootArm, VendorClass: "U-Boot.armv7", MAC: intel}, "armv7", "uboot"},
		{"U-Boot arm as EFI in QEMU", Traits{Client: ClientUEFIarm32, VendorClass: "PXEClient:Arch:00010:UNDI:003000", MAC: uboot}, "qemu-arm", "uboot-efi"},
		{"U-Boot on a Pi 4", Traits{Client: ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: pi4}, "rpi4", "uboot"},
		{"Pi 3", Traits{Client: ClientBIOS, VendorClass: pxe, MAC: []byte{0xb8, 0x27, 0xeb, 1, 2, 3}}, "rpi3", "rpi3"},
		{"Pi 4 by its address", Traits{Client: ClientBIOS, VendorClass: pxe, MAC: pi4}, "rpi4", "rpi"},
		{"Pi 4 by its UUID", Traits{Client: ClientBIOS, VendorClass: pxe, GUID: []byte("RPi4\x11\x31\xc0\x00"), MAC: []byte{0x2c, 0xcf, 0x67, 1, 2, 3}}, "rpi4", "rpi"},
		{"Pi 5 by its UUID", Traits{Client: ClientBIOS, VendorClass: pxe, GUID: []byte("RPi5"), MAC: []byte{0xd8, 0x3a, 0xdd, 1, 2, 3}}, "rpi5", "rpi"},
		{"Pi 4's REQUEST", Traits{Client: ClientBIOS, MAC: pi4}, "rpi4", "rpi"},
		{"Pi 4 with EDK2", Traits{Client: ClientUEFIarm64, VendorClass: pxe, GUID: guid, MAC: pi4}, "rpi4", "uefi-pxe"},
		{"riscv64", Traits{Client: ClientUEFIriscv64, VendorClass: pxe, GUID: guid}, "", "uefi-pxe"},
		{"architecture without PXE", Traits{Client: ClientUEFIx64, VendorClass: "anaconda-Linux", MAC: intel}, "pc-x86_64", ""},
		{"agent of a board we do not know", Traits{Client: ClientBIOS, UserClass: AgentUserClass, VendorClass: AgentVendorPrefix + "toaster"}, "", "bootlace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, l := Recognise(test.traits)
			board, loader := "", ""
			if b != nil {
				board = b.Name
			}
			if l != nil {
				loader = l.Name
			}
			if board != test.board || loader != test.loader {
				t.Errorf("%s: %q, %q; want %q, %q", test.name, board, loader, test.board, test.loader)
			}
		})
	}
}
