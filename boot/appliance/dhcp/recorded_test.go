package dhcp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/nettest"
)

// machine is the MAC of the machines that were recorded.
var machine = [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// origin is the start of a line in README that tells where packets are from. It
// is made of the start of their files' names. The boards of one firmware have
// one line.
func origin(start string) string {
	start = strings.TrimSuffix(start, "-")
	for _, arch := range []string{"-arm64", "-arm"} {
		start = strings.TrimSuffix(start, arch)
	}
	return start + "-*"
}

// Every recorded packet is recognised for the machine and the program that
// sent it. Keys are the starts of file names. The longest counts.
func TestRecognised(t *testing.T) {
	want := map[string][2]string{
		"ipxe-":            {"qemu-x86_64", "ipxe"},
		"ipxe-e1000-":      {"pc-x86_64", "ipxe"},
		"ipxe-efi-":        {"qemu-x86_64", "ipxe-efi"},
		"undionly-":        {"qemu-x86_64", "ipxe"},
		"ovmf-":            {"qemu-x86_64", "uefi-pxe"},
		"ovmf-http-":       {"qemu-x86_64", "uefi-http"},
		"aavmf-":           {"qemu-arm64", "uefi-pxe"},
		"uboot-arm64-":     {"qemu-arm64", "uboot"},
		"uboot-arm-":       {"qemu-arm", "uboot"},
		"uboot-efi-arm64-": {"qemu-arm64", "uboot-efi"},
		"uboot-efi-arm-":   {"qemu-arm", "uboot-efi"},
		"rpi3-":            {"rpi3", "rpi3"},
		"rpi4-":            {"rpi4", "rpi"},
		"rpi5-":            {"rpi5", "rpi"},
	}
	recorded, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("testdata/README")
	if err != nil {
		t.Fatal(err)
	}
	seen, loaders := map[string]bool{}, map[string]bool{}
	for _, path := range recorded {
		t.Run(filepath.Base(path), func(t *testing.T) {
			best := ""
			for start := range want {
				if strings.HasPrefix(filepath.Base(path), start) && len(start) > len(best) {
					best = start
				}
			}
			seen[best] = true
			rec := nettest.ReadPacket(t, path)
			if !rec.From.IsValid() || !strings.Contains(string(readme), "\n"+origin(best)) {
				t.Error("the file or README says nothing of where it is from")
			}
			q, err := parse(rec.Raw, "eth0", rec.From, rec.Port)
			if err != nil {
				t.Fatal(err)
			}
			if q.Loader == nil || q.Board != want[best][0] || q.Loader.Name != want[best][1] {
				t.Fatalf("taken for %v, %v; want %q", q.Board, q.Loader, want[best])
			}
			loaders[q.Loader.Name] = true
		})
	}
	if len(seen) != len(want) {
		t.Errorf("%d of %d kinds are recorded", len(seen), len(want))
	}
	for _, m := range made {
		q, err := parse(m.raw, "eth0", m.from, m.port)
		if err != nil {
			t.Fatal(err)
		}
		if q.Loader != nil {
			loaders[q.Loader.Name] = true
		}
	}
	for _, l := range board.Loaders {
		if !loaders[l.Name] {
			t.Errorf("no packet of %s is recorded or made", l.Name)
		}
	}
}
