package appliance

import (
	"context"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
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

// decide is dhcp.Server.Decide.
func (bi *bootInfos) decide(ctx context.Context, r dhcp.Hearing) (dhcp.Reply, error) {
	traits := registry.Traits{MAC: r.MAC, UUID: r.UUID}
	switch {
	case r.Board == nil:
	case r.Traits.UserClass == board.UserClass:
		traits.Board = r.Board.Name // it runs it
	default:
		traits.Board = policy.FirmwareFor(bi.catalog, r.Board).Name
	}
	m, err := bi.registry.Identify(ctx, traits)
	if err != nil {
		return dhcp.Reply{}, err
	}
	f := factsOf(m)
	f.Interface, f.Circuit = r.Interface, r.Circuit
	bi.facts.Put(r.MAC, f)
	d := bi.policy.Decide(m, f, r.MAC)
	info := dhcp.Reply{Machine: m.ID}
	if d.Action == boot.ActionIgnore {
		// With no profile for it a machine may still have an address in full
		// mode. A profile that says ignore means silence.
		info.Silent = d.Profile != nil || !bi.addresses
		return info, nil
	}
	if r.Loader != nil {
		info.Bootfile = d.Bootfile(bi.catalog, r.Loader, r.MAC, bi.urls.base("http", r.Next))
	}
	return info, nil
}
