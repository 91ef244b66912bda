package boot

import (
	"testing"

	"github.com/bootlace/bootlace/board"
)

// What is known of a machine from its first packet, and how the journal names
// the program that sent it.
func TestNewRequest(t *testing.T) {
	mac, qemu := MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, MAC{0x00, 0x1b, 0x21, 1, 2, 3}
	uuid := []byte("abcdefghijklmnop")
	for _, tt := range []struct {
		name    string
		traits  board.Traits
		mac     MAC
		board   string
		uuid    bool
		boots   bool
		agent   bool
		program string
	}{
		{"a host", board.Traits{Client: board.ClientUnknown, VendorClass: "dhcpcd-9.4"}, mac, "", false, false, false, "a DHCP client"},
		{"iPXE", board.Traits{Client: board.ClientBIOS, UserClass: "iPXE", GUID: uuid}, qemu, "pc-x86_64", true, true, false, "ipxe (arch 0)"},
		{"UEFI HTTP", board.Traits{Client: board.ClientHTTPx64, VendorClass: "HTTPClient:Arch:00016:UNDI:003001", GUID: uuid}, qemu, "pc-x86_64", true, true, false, "uefi-http (arch 16)"},
		{"an unknown loader", board.Traits{Client: board.ClientUnknown, VendorClass: "PXEClient of the next century, in very many words"}, qemu, "", false, true, false,
			`an unknown loader "PXEClient of the next century, in very m"`},
		{"the agent", board.Traits{Client: board.ClientUnknown, UserClass: board.AgentUserClass, VendorClass: board.AgentVendorPrefix + "rpi4"}, mac, "rpi4", false, true, true, "bootlace"},
		{"a filler for a UUID", board.Traits{Client: board.ClientBIOS, UserClass: "iPXE", GUID: make([]byte, 16)}, qemu, "pc-x86_64", false, true, false, "ipxe (arch 0)"},
		{"no MAC", board.Traits{Client: board.ClientUnknown}, MAC{}, "", false, false, false, "a DHCP client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewRequest(tt.traits, tt.mac)
			if r.MAC != tt.mac || len(r.MACs) != 1 && tt.mac != (MAC{}) || len(r.MACs) != 0 && tt.mac == (MAC{}) {
				t.Errorf("MAC %s of %v", r.MAC, r.MACs)
			}
			b, _ := board.ByName(tt.board)
			if r.Board != tt.board || b != nil && r.Arch != b.Arch || (r.UUID != nil) != tt.uuid {
				t.Errorf("board %q, arch %q, UUID %v", r.Board, r.Arch, r.UUID)
			}
			if r.Boots() != tt.boots || r.FromAgent() != tt.agent || r.Program() != tt.program {
				t.Errorf("boots %t, agent %t, program %q", r.Boots(), r.FromAgent(), r.Program())
			}
		})
	}
}
