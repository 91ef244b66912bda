package appliance

import (
	"context"
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

// machinesHeard is how many machines' facts and addresses are kept between
// packets.
const machinesHeard = 8192

// machines identifies a machine and decides what it gets now.
type machines struct {
	registry *registry.Registry
	policy   policy.Policy
	catalog  *catalog.Catalog

	facts  *limit.Recent[boot.MAC, boot.Facts] // from the machine's last DHCP packet
	byAddr *limit.Recent[netip.Addr, boot.MAC] // the machine that last had an address
}

func newMachines(r *registry.Registry, p policy.Policy, c *catalog.Catalog) *machines {
	return &machines{
		registry: r, policy: p, catalog: c,
		facts:  limit.NewRecent[boot.MAC, boot.Facts](machinesHeard),
		byAddr: limit.NewRecent[netip.Addr, boot.MAC](machinesHeard),
	}
}

// recordAddr records which machine has an address.
func (ms *machines) recordAddr(mac boot.MAC, addr netip.Addr) { ms.byAddr.Put(addr.Unmap(), mac) }

// boardAt returns the board of the machine at an address, nil where it is
// unknown.
func (ms *machines) boardAt(addr netip.Addr) *board.Board {
	mac, ok := ms.byAddr.Get(addr.Unmap())
	if !ok {
		return nil
	}
	f, _ := ms.facts.Get(mac)
	b, _ := board.ByName(f.Board)
	return b
}

// factsOf returns the facts that the registry has of a machine.
func factsOf(m boot.Machine) boot.Facts {
	f := boot.Facts{MACs: m.MACs, UUID: m.UUID, Serial: m.Serial, Board: m.Board}
	if b, ok := board.ByName(m.Board); ok {
		f.Arch = b.Arch
	}
	return f
}

// decide returns the decision for a machine that did not ask by DHCP. Its link
// and board are those of its last DHCP packet. The error is fs.ErrNotExist
// where the machine gets no answer.
func (ms *machines) decide(ctx context.Context, mac boot.MAC) (policy.Decision, error) {
	if !mac.Station() {
		return policy.Decision{}, fs.ErrNotExist
	}
	m, err := ms.registry.Identify(ctx, boot.Facts{MAC: mac})
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

// decisionFor returns the decision for a machine that requests a file. named is
// the MAC in the file's name. If it is "", the client's address identifies the
// machine. The error is fs.ErrNotExist where that address is unknown.
func (ms *machines) decisionFor(ctx context.Context, named string, from netip.Addr) (policy.Decision, error) {
	mac, known := ms.byAddr.Get(from)
	if named != "" {
		var err error
		if mac, err = boot.ParseMAC(named); err != nil {
			return policy.Decision{}, fs.ErrNotExist
		}
		ms.recordAddr(mac, from)
	} else if !known {
		return policy.Decision{}, fs.ErrNotExist
	}
	return ms.decide(ctx, mac)
}
