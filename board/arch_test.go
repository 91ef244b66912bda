package board

import (
	"slices"
	"strings"
	"testing"
)

// A new row has to be complete: each field is filled, or its absence is one
// that the table already has a reason for.
func TestArches(t *testing.T) {
	known := map[Client]string{}
	for _, a := range Arches {
		t.Run(a.Name, func(t *testing.T) {
			for field, value := range map[string]string{"Name": a.Name, "EFI": a.EFI, "Variant": a.Variant, "Debian": a.Debian, "QEMU": a.QEMU} {
				if value == "" {
					t.Errorf("%s is missing", field)
				}
			}
			if got, ok := ArchOf(a.Name); !ok || got != a {
				t.Errorf("ArchOf finds %v: the name is there twice", got)
			}
			if key, value, ok := strings.Cut(a.Variant, "="); !ok || key != "GO"+strings.ToUpper(a.Name) || value == "" {
				t.Errorf("Variant is %q", a.Variant)
			}
			if !strings.HasPrefix(a.QEMU, "qemu-system-") {
				t.Errorf("QEMU is %q", a.QEMU)
			}
			if len(a.UEFI) == 0 || len(a.HTTP) == 0 || a.AgentClient(true) != a.UEFI[0] {
				t.Error("no client number for UEFI")
			}
			if len(a.BIOS) > 0 && len(a.UBoot) > 0 {
				t.Error("the agent cannot tell a BIOS from U-Boot")
			}
			if len(a.BIOS) == 0 && a.BootCommand == "" {
				t.Error("neither a BIOS nor a command of U-Boot")
			}
			if k := a.Kbuild; k != nil && (k.Arch == "" || k.Target == "" || k.Image == "") {
				t.Errorf("Kbuild is incomplete: %+v", k)
			}
			for _, c := range a.Clients() {
				if other := known[c]; other != "" || c == ClientUnknown {
					t.Errorf("client %d is %s's too", c, other)
				}
				known[c] = a.Name
			}
		})
	}
	if _, ok := ArchOf(DefaultArch); !ok {
		t.Errorf("no row for %s", DefaultArch)
	}
	for _, b := range Boards {
		a, ok := ArchOf(b.Arch)
		switch {
		case !ok:
			t.Errorf("board %s: no row for %q", b.Name, b.Arch)
		case b.Pi == "" && !slices.Equal(b.Clients, a.Clients()):
			t.Errorf("board %s asks as %d, its architecture as %d", b.Name, b.Clients, a.Clients())
		}
	}
	for _, k := range KernelFlavours {
		if a, ok := ArchOf(k.Arch); !ok || a.Kbuild == nil {
			t.Errorf("kernel %s: %s has no Kbuild", k.Name, k.Arch)
		}
	}
}

func TestAgentClient(t *testing.T) {
	for _, tt := range []struct {
		arch string
		efi  bool
		want Client
	}{
		{"amd64", false, ClientBIOS}, {"amd64", true, ClientUEFIx64},
		{"arm64", false, ClientUBootArm64}, {"arm64", true, ClientUEFIarm64},
		{"arm", false, ClientUBootArm}, {"arm", true, ClientUEFIarm32},
		{"riscv64", false, ClientUnknown}, {"riscv64", true, ClientUEFIriscv64},
	} {
		t.Run(tt.arch+map[bool]string{true: " by UEFI"}[tt.efi], func(t *testing.T) {
			a, ok := ArchOf(tt.arch)
			if !ok {
				t.Errorf("no %s", tt.arch)
			} else if got := a.AgentClient(tt.efi); got != tt.want {
				t.Errorf("%s, EFI %v: %d, want %d", tt.arch, tt.efi, got, tt.want)
			}
		})
	}
}
