package appliance

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/catalog"
	"github.com/bootlace/bootlace/boot/appliance/limit"
	"github.com/bootlace/bootlace/boot/appliance/policy"
	"github.com/bootlace/bootlace/boot/appliance/registry"
)

// machinesHeard bounds what is remembered of machines between two packets.
const machinesHeard = 8192

// machines says who asks, and what that machine gets now.
type machines struct {
	registry *registry.Registry
	policy   policy.Policy
	catalog  *catalog.Catalog

	facts  *limit.Recent[boot.MAC, boot.Facts] // as last heard by DHCP
	byAddr *limit.Recent[netip.Addr, boot.MAC] // who had an address last
}

func newMachines(r *registry.Registry, p policy.Policy, c *catalog.Catalog) *machines {
	return &machines{
		registry: r, policy: p, catalog: c,
		facts:  limit.NewRecent[boot.MAC, boot.Facts](machinesHeard),
		byAddr: limit.NewRecent[netip.Addr, boot.MAC](machinesHeard),
	}
}

// saw remembers that a machine has an address.
func (ms *machines) saw(mac boot.MAC, addr netip.Addr) { ms.byAddr.Put(addr.Unmap(), mac) }

// boardAt is the board of the machine at an address, nil where nobody knows.
func (ms *machines) boardAt(addr netip.Addr) *board.Board {
	mac, ok := ms.byAddr.Get(addr.Unmap())
	if !ok {
		return nil
	}
	f, _ := ms.facts.Get(mac)
	b, _ := board.ByName(f.Board)
	return b
}

// factsOf are those that the registry has of a machine.
func factsOf(m boot.Machine) boot.Facts {
	f := boot.Facts{MACs: m.MACs, UUID: m.UUID, Serial: m.Serial, Board: m.Board}
	if b, ok := board.ByName(m.Board); ok {
		f.Arch = b.Arch
	}
	return f
}

// decide chooses for a machine that asks by name, not by DHCP. On which link
// it is, and which board, is known from what it last said by DHCP. The error
// is fs.ErrNotExist where it gets no answer.
func (ms *machines) decide(ctx context.Context, mac boot.MAC) (policy.Decision, error) {
	if !mac.Station() {
		return policy.Decision{}, fs.ErrNotExist
	}
	m, err := ms.registry.Identify(ctx, registry.Traits{MAC: mac})
	if err != nil {
		return policy.Decision{}, err
	}
	f := factsOf(m)
	f.MAC = mac
	if h, ok := ms.facts.Get(mac); ok {
		f.Interface, f.Circuit = h.Interface, h.Circuit
		if f.Board == "" {
			f.Board, f.Arch = h.Board, h.Arch
		}
	}
	if !slices.Contains(f.MACs, mac) {
		f.MACs = append(slices.Clone(f.MACs), mac)
	}
	d := ms.policy.Decide(m, f)
	if d.Action == boot.ActionIgnore {
		return d, fs.ErrNotExist
	}
	return d, nil
}

// decisionFor decides for the machine that asks from an address: by the MAC by
// which it named itself, else by who has the address. The error is
// fs.ErrNotExist where neither is known.
func (ms *machines) decisionFor(ctx context.Context, named string, from netip.Addr) (policy.Decision, error) {
	mac, known := ms.byAddr.Get(from)
	if named != "" {
		var err error
		if mac, err = boot.ParseMAC(named); err != nil {
			return policy.Decision{}, fs.ErrNotExist
		}
		ms.saw(mac, from)
	} else if !known {
		return policy.Decision{}, fs.ErrNotExist
	}
	return ms.decide(ctx, mac)
}

// image describes what a decision flashes, as it lies in the root now.
func (ms *machines) image(ctx context.Context, d policy.Decision, files map[string]string) (*boot.Image, error) {
	name, ok := d.FlashImage()
	if !ok {
		return nil, fmt.Errorf("profile %s has no image for board %q", d.Profile.Name, d.Machine.Board)
	}
	if file, ok := files[name]; ok {
		name = file
	}
	return ms.catalog.Image(ctx, name)
}
