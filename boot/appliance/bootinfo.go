package appliance

import (
	"context"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/policy"
)

// bootInfos tells the DHCP servers what a machine boots. It reads no disk.
type bootInfos struct {
	*machines
	urls      *urls
	addresses bool // DHCP gives addresses, even to machines that boot nothing
}

// decide is the Decide function of the DHCP servers.
func (bi *bootInfos) decide(ctx context.Context, r boot.Request) (boot.BootInfo, error) {
	known := r.Facts
	if b, ok := board.ByName(r.Board); ok && !r.FromAgent() { // the agent names the board that it was made for
		known.Board = policy.FirmwareFor(bi.catalog, b).Name
	}
	m, err := bi.registry.Identify(ctx, known)
	if err != nil {
		return boot.BootInfo{}, err
	}
	f := factsOf(m)
	f.MAC, f.Interface, f.Circuit = r.MAC, r.Interface, r.Circuit
	bi.facts.Put(r.MAC, f)
	d := bi.policy.Decide(m, f)
	info := boot.BootInfo{Machine: m.ID}
	if d.Action == boot.ActionIgnore {
		// In full mode a machine without a profile still gets an address. A
		// profile with action ignore means no answer at all.
		info.Silent = d.Profile != nil || !bi.addresses
		return info, nil
	}
	if r.Loader != nil {
		info.Bootfile = d.Bootfile(bi.catalog, r.Loader, r.MAC, bi.urls.base("http", r.Server))
	}
	return info, nil
}
