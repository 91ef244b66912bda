package board

import (
	"slices"
	"strings"
	"testing"
)

// What every line of the table must have, a newcomer's too.
func TestBoards(t *testing.T) {
	var names []string
	for _, b := range Boards {
		if b.Name == "" || strings.ContainsAny(b.Name, " /\\") || slices.Contains(names, b.Name) {
			t.Errorf("name %q", b.Name)
		}
		names = append(names, b.Name)
		if b.Doc == "" || b.Arch == "" || b.Kernel == "" || len(b.Modules) == 0 || len(b.Console) == 0 {
			t.Errorf("%s: incomplete", b.Name)
		}
		if !strings.HasPrefix(b.CommandLine(), "console="+b.Console[0]) {
			t.Errorf("%s: command line %q", b.Name, b.CommandLine())
		}
		if got, ok := ByName(b.Name); !ok || got != b {
			t.Errorf("ByName(%q) = %v, %v", b.Name, got, ok)
		}
		if b.QEMU != nil && (b.QEMU.Command == "" || b.QEMU.NIC == "" || b.QEMU.Disk == "") {
			t.Errorf("%s: QEMU incomplete", b.Name)
		}
		// Our agent on it is known by name, whatever else it says.
		if got, _ := Recognise(Traits{Client: ClientUnknown, UserClass: UserClass, VendorClass: VendorClass + b.Name}); got != b {
			t.Errorf("its agent is taken for %v", got)
		}
	}
}

func TestRecognise(t *testing.T) {
	const pxe = "PXEClient:Arch:00000:UNDI:002001"
	for _, test := range []struct {
		name          string
		traits        Traits
		board, loader string
	}{
		{"plain DHCP client", Traits{Client: ClientUnknown, VendorClass: "dhcpcd-9.4"}, "", ""},
		{"PXE ROM", Traits{Client: ClientBIOS, VendorClass: pxe}, "qemu-x86_64", "pxe-bios"},
		{"iPXE by BIOS", Traits{Client: ClientBIOS, VendorClass: pxe, UserClass: "iPXE"}, "qemu-x86_64", "ipxe"},
		{"iPXE by its features", Traits{Client: ClientBIOS, VendorClass: pxe, IPXE: []byte{1}}, "qemu-x86_64", "ipxe"},
		{"iPXE by UEFI", Traits{Client: ClientUEFIx64, VendorClass: pxe, UserClass: "iPXE"}, "qemu-x86_64", "ipxe-efi"},
		{"UEFI, 7", Traits{Client: ClientUEFIx64, VendorClass: pxe}, "qemu-x86_64", "uefi-pxe"},
		{"UEFI, 9", Traits{Client: ClientUEFIx64BC, VendorClass: pxe}, "qemu-x86_64", "uefi-pxe"},
		{"UEFI of another architecture", Traits{Client: ClientUEFIarm64, VendorClass: pxe}, "", "uefi-pxe"},
		{"architecture without PXE", Traits{Client: ClientUEFIx64, VendorClass: "anaconda-Linux"}, "qemu-x86_64", ""},
		{"agent of a board we do not know", Traits{Client: ClientBIOS, UserClass: UserClass, VendorClass: VendorClass + "toaster"}, "", "bootlace"},
	} {
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
	}
}
