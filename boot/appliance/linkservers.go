package appliance

import (
	"context"
	"fmt"
	"slices"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/dhcp6"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/ra"
)

// linkServers opens the servers of each link. These are DHCP and, in full mode,
// DHCPv6 and router advertisements.
func (a *Appliance) linkServers(ctx context.Context) ([]server, error) {
	if a.cfg.DHCP.Mode == dhcp.Off {
		return nil, nil
	}
	var list []server
	for _, l := range a.urls.links {
		if a.cfg.DHCP.Mode == dhcp.Full && !a.cfg.DHCP.Force {
			others, err := dhcp.Probe(ctx, l.name, dhcp.Timing{})
			if err != nil {
				return nil, fmt.Errorf("dhcp: look for another server on %s: %w", l.name, err)
			}
			if len(others) > 0 {
				return nil, Mistake{fmt.Errorf("dhcp: %v gives addresses on %s already; --dhcp proxy works beside it, --force ignores it", others, l.name)}
			}
		}
		for _, s := range a.serversOf(l) {
			if err := s.Listen(); err != nil {
				return nil, Mistake{err}
			}
			list = append(list, s.Run)
		}
	}
	return list, nil
}

// A linkServer answers requests on one link.
type linkServer interface {
	Listen() error
	Run(context.Context) error
}

// serversOf makes the servers of one link. DHCPv6 needs an address of ours in
// one of its networks.
func (a *Appliance) serversOf(l link) []linkServer {
	full := a.cfg.DHCP.Mode == dhcp.Full
	infos := &bootInfos{machines: a.machines, urls: a.urls, addresses: full}
	note := func(ev boot.Event) { a.journal.Add(ev) }
	list := []linkServer{&dhcp.Server{
		Mode: a.cfg.DHCP.Mode, Interface: l.name, Addr: a.cfg.Advertise, Leases: a.leases,
		Decide: infos.decide, Note: note, Seen: a.machines.recordAddr, Log: a.log,
	}}
	if !full {
		return list
	}
	router := &ra.Server{Interface: l.name, Log: a.log}
	for _, p := range l.prefixes {
		i := slices.IndexFunc(a.cfg.Leases.Subnets6, func(n lease.Subnet) bool { return n.Prefix.Contains(p.Addr()) })
		if i < 0 {
			continue
		}
		subnet := a.cfg.Leases.Subnets6[i]
		router.Managed = subnet.Prefix
		list = append(list, &dhcp6.Server{
			Interface: l.name, Addr: p.Addr(), Subnet: subnet, Leases: a.leases6,
			Decide: infos.decide, Note: note, Seen: a.machines.recordAddr, Log: a.log,
		})
		break
	}
	return append(list, router)
}
