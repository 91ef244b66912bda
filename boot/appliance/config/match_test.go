package config

import (
	"net/netip"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Each key of match takes one value or several, and each kind of value that
// its comment promises.
func TestMatch(t *testing.T) {
	uuid, err := boot.ParseUUID("01234567-89ab-cdef-0123-456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	machine := boot.Facts{
		MACs: []boot.MAC{{0x52, 0x54, 0, 0x12, 0x34, 0x56}, {2, 0, 0, 0, 0, 0xa}}, UUID: &uuid,
		Serial: "LAB-17", Board: "qemu-x86_64", Arch: "amd64", Interface: "eth1", Circuit: "ge-0/0/7",
	}
	for _, tt := range []struct {
		name, match   string
		matches       bool
		none          bool // matches a machine of which nothing is known
		specific      bool
		canonicalMACs string
	}{
		{name: "nothing", match: "{}", matches: true, none: true},
		{name: "MAC", match: "{mac: '52:54:00:12:34:56'}", matches: true, specific: true, canonicalMACs: "52:54:00:12:34:56"},
		{name: "MAC in capitals", match: "{mac: '02:00:00:00:00:0A'}", matches: true, specific: true, canonicalMACs: "02:00:00:00:00:0a"},
		{name: "MAC with hyphens", match: "{mac: 52-54-00-12-34-56}", matches: true, specific: true, canonicalMACs: "52:54:00:12:34:56"},
		{name: "another MAC of the machine", match: "{mac: '02:00:00:00:00:0a'}", matches: true, specific: true},
		{name: "another machine's MAC", match: "{mac: '02:00:00:00:00:02'}", specific: true},
		{name: "one of several MACs", match: "{mac: ['02:00:00:00:00:02', '52:54:00:12:34:56']}", matches: true, specific: true},
		{name: "MACs of a vendor", match: "{mac: '52:54:00:*'}", matches: true, specific: true},
		{name: "MACs of a class", match: "{mac: '52:54:00:12:34:5[0-6]'}", matches: true, specific: true},
		{name: "every MAC", match: "{mac: '*'}", matches: true},
		{name: "UUID", match: "{uuid: 01234567-89AB-CDEF-0123-456789ABCDEF}", matches: true, specific: true},
		{name: "another UUID", match: "{uuid: 11234567-89ab-cdef-0123-456789abcdef}", specific: true},
		{name: "serial", match: "{serial: LAB-17}", matches: true, specific: true},
		{name: "serials", match: "{serial: ['LAB-1?', X]}", matches: true, specific: true},
		{name: "a serial that looks like a number", match: "{serial: 17}", specific: true},
		{name: "every serial", match: "{serial: '*'}", matches: true, none: true},
		{name: "board", match: "{board: qemu-x86_64}", matches: true},
		{name: "another board", match: "{board: [qemu-arm64]}"},
		{name: "architecture", match: "{arch: amd64}", matches: true},
		{name: "architectures", match: "{arch: a*64}", matches: true},
		{name: "interface", match: "{interface: [eth0, eth1]}", matches: true},
		{name: "circuit", match: "{circuit: 'ge-*/0/7'}", matches: true},
		{name: "two keys that hold", match: "{serial: LAB-17, interface: eth1}", matches: true, specific: true},
		{name: "two keys of which one holds", match: "{serial: LAB-17, interface: eth0}", specific: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, base+"profiles: [{name: a, action: wait, match: "+tt.match+"}]\n")
			if err != nil {
				t.Fatal(err)
			}
			m := c.Profiles[0].Match
			if m.Matches(machine) != tt.matches || m.Matches(boot.Facts{}) != tt.none || m.Specific() != tt.specific {
				t.Errorf("matches %v, a machine of which nothing is known %v, specific %v", m.Matches(machine), m.Matches(boot.Facts{}), m.Specific())
			}
			if tt.canonicalMACs != "" && (len(m.MAC) != 1 || m.MAC[0] != tt.canonicalMACs) {
				t.Errorf("MACs %q", m.MAC)
			}
		})
	}
}

// An image is one for every board, or one for each.
func TestImageByBoard(t *testing.T) {
	for _, tt := range []struct{ name, image, board, want string }{
		{"one for all", "lab", "qemu-x86_64", "lab"},
		{"by board", "{qemu-x86_64: lab, qemu-arm64: arm}", "qemu-arm64", "arm"},
		{"by board, another", "{qemu-x86_64: lab}", "qemu-arm64", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, base+"profiles: [{name: a, action: flash, image: "+tt.image+"}]\n")
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := c.Profiles[0].Image(tt.board); got != tt.want || ok != (tt.want != "") {
				t.Errorf("%q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}
