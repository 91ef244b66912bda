package appliance

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/lease"
)

// A profile for every machine may match a 32-bit ARM machine, which has no
// kexec. That machine waits with the reason, and the journal has it too.
func TestNoKexec(t *testing.T) {
	a := newWithFiles(t, append(firmwareFiles("armv7", "pc-x86_64"), "k")...)
	a.machines.policy.Profiles = []*boot.Profile{{Name: "live", Action: boot.ActionBoot, Kernel: "k", Transfer: boot.DefaultTransfer, Then: boot.Reboot, OnFailure: boot.Retry}}
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientUBootArm, MAC: uboot})
	p := planFor(t, a, boot.MAC(uboot))
	const want = "no plan: action boot needs kexec, which 32-bit ARM (armv7) does not have"
	if p.Action != boot.ActionWait || p.Text != want || p.Kernel != nil {
		t.Errorf("%s, %q", p.Action, p.Text)
	}
	var last boot.Event
	for _, ev := range a.journal.Since(0, journalKeep) {
		last = ev
	}
	if last.Kind != boot.KindFailed || last.Text != want || last.MAC != boot.MAC(uboot) {
		t.Errorf("the journal says %+v", last)
	}
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientBIOS, VendorClass: pxe, MAC: intel})
	if p := planFor(t, a, boot.MAC(intel)); p.Action != boot.ActionBoot || p.Kernel == nil {
		t.Errorf("a PC: %s, %q", p.Action, p.Text)
	}
}

// An IPv6 network must be that of a link.
func TestSixOfNoLink(t *testing.T) {
	cfg := &config.Config{
		Root: t.TempDir(), State: filepath.Join(t.TempDir(), "state"), Interface: []string{"lo"}, Listen: map[string]string{"tftp": ":69"},
		DHCP:   dhcp.Config{Mode: dhcp.Full},
		Leases: lease.Config{Subnets: []lease.Subnet{{Prefix: netip.MustParsePrefix("127.0.0.0/24"), Lease: lease.DefaultTiming.Lease}}},
	}
	for net, want := range map[string]string{"::/64": "", "fd00:77::/64": "dhcp.subnets: fd00:77::/64 is the network of no interface that is served"} {
		t.Run(net, func(t *testing.T) {
			cfg.Leases.Subnets6 = []lease.Subnet{{Prefix: netip.MustParsePrefix(net)}}
			err := Check(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v", net, err)
			}
		})
	}
}
