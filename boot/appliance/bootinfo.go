package appliance

import (
	"context"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/policy"
	"github.com/bootlace/bootlace/boot/appliance/registry"
)

// bootInfos answers for DHCP: who is this, and what may it boot? It reads no
// disk.
type bootInfos struct {
	*machines
	urls      *urls
	addresses bool // DHCP gives addresses, also to machines that boot nothing
}

// decide is Decide of the servers of DHCP.
func (bi *bootInfos) decide(ctx context.Context, r boot.Request) (boot.BootInfo, error) {
	traits := registry.Traits{MAC: r.MAC, UUID: r.UUID, Board: r.Board}
	if b, ok := board.ByName(r.Board); ok && !r.FromAgent() { // the agent names the board it was made for
		traits.Board = policy.FirmwareFor(bi.catalog, b).Name
	}
	m, err := bi.registry.Identify(ctx, traits)
	if err != nil {
		return boot.BootInfo{}, err
	}
	f := factsOf(m)
	f.MAC, f.Interface, f.Circuit = r.MAC, r.Interface, r.Circuit
	bi.facts.Put(r.MAC, f)
	d := bi.policy.Decide(m, f)
	info := boot.BootInfo{Machine: m.ID}
	if d.Action == boot.ActionIgnore {
		// With no profile for it a machine may still have an address in full
		// mode. A profile that says ignore means silence.
		info.Silent = d.Profile != nil || !bi.addresses
		return info, nil
	}
	if r.Loader != nil {
		info.Bootfile = d.Bootfile(bi.catalog, r.Loader, r.MAC, bi.urls.base("http", r.Server))
	}
	return info, nil
}
