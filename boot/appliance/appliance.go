package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/access"
	"github.com/bootlace/bootlace/boot/appliance/catalog"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/policy"
	"github.com/bootlace/bootlace/boot/appliance/registry"
	"github.com/bootlace/bootlace/boot/appliance/verdict"
	"github.com/bootlace/bootlace/boot/appliance/web"
)

// journalKeep is how many events are held in memory. Each takes about 300
// bytes.
const journalKeep = 16384

// An Appliance serves one configuration. New opens it, Run serves, Close ends
// it.
type Appliance struct {
	cfg     *config.Config
	log     *slog.Logger
	budget  budget
	sockets map[string]socket // by name of boot.Protocols
	state   *state
	journal *journal.Journal

	urls     *urls
	tree     *files.Tree
	catalog  *catalog.Catalog
	machines *machines
	leases   *lease.Leases  // nil unless DHCP gives addresses
	leases6  *lease.Leases6 // the same of IPv6
	access   *access.Rules
	uploads  *files.Uploads // nil where uploads are off
	web      *web.Server
}

// New opens the ports and folders, and checks what the config names. The caller
// must call Close. An error that the user can mend is a Mistake.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Appliance, error) {
	return openAppliance(ctx, cfg, log, true)
}

// Check does what New does, but opens no port.
func Check(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	a, err := openAppliance(ctx, cfg, log, false)
	if err != nil {
		return err
	}
	return a.Close()
}

func openAppliance(ctx context.Context, cfg *config.Config, log *slog.Logger, ports bool) (a *Appliance, err error) {
	a = &Appliance{cfg: cfg, log: log, budget: openFiles(log), journal: journal.New(log, journalKeep)}
	if ports {
		a.sockets, err = listenAll(ctx, cfg.Listen)
	}
	if err == nil {
		err = a.openLinks()
	}
	if err == nil {
		a.state, err = openState(cfg.State, ports)
	}
	if err == nil {
		err = a.openFolders(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// openLinks chooses the interfaces to serve, and fits the config's subnets to
// them.
func (a *Appliance) openLinks() error {
	on, err := findLinks(a.cfg)
	if err != nil {
		return Mistake{err}
	}
	a.urls = &urls{advertise: a.cfg.Advertise, links: on, listen: a.cfg.Listen}
	if adv := a.cfg.Advertise; a.cfg.DHCP.Mode != dhcp.Off && adv.IsValid() && !adv.Is4() {
		return Mistake{fmt.Errorf("advertise: %s is no IPv4 address, and DHCP can tell machines of no other; --dhcp off goes without", adv)}
	}
	if a.cfg.DHCP.Mode == dhcp.Full {
		fitted, err := fitSubnets(a.cfg, on)
		if err != nil {
			return Mistake{err}
		}
		a.cfg.Leases.Subnets = fitted
	}
	return nil
}

// openFolders opens the tree, the uploads and the leases, and connects the
// packages that use them. Close undoes it, however far it came.
func (a *Appliance) openFolders(ctx context.Context) (err error) {
	machines, err := registry.New(ctx, a.state.store, a.log)
	if err != nil {
		return err
	}
	if a.cfg.DHCP.Mode == dhcp.Full {
		if a.leases, err = lease.New(ctx, a.state.store, a.cfg.Leases.Subnets, a.cfg.Leases.Hosts, a.log); err != nil {
			return Mistake{fmt.Errorf("dhcp: %w", err)}
		}
		if a.leases6, err = lease.New6(ctx, a.state.store, a.cfg.Leases.Subnets6, a.log); err != nil {
			return Mistake{fmt.Errorf("dhcp: %w", err)}
		}
	}
	if a.cfg.Upload != "" {
		if a.uploads, err = files.OpenUploads(a.cfg.Upload); err != nil {
			return Mistake{fmt.Errorf("upload: %w", err)}
		}
	}
	// Made files need the catalog, and the catalog reads the tree.
	a.access = &access.Rules{Token: a.state.controlToken, Uploads: a.uploads != nil}
	m := &made{urls: a.urls, manifests: catalog.NewManifests(filepath.Join(a.state.dir, manifestsDir))}
	if a.tree, err = files.OpenTree(a.cfg.Root, files.Made{Before: m.plan, Elsewhere: m.elsewhere, After: m.script}, a.noteServed); err != nil {
		return Mistake{fmt.Errorf("root: %w", err)}
	}
	a.catalog = catalog.New(a.tree, m.manifests, a.log)
	a.machines = newMachines(machines, policy.Policy{Profiles: a.cfg.Profiles, Unknown: a.cfg.Unknown}, a.catalog)
	m.machines = a.machines
	m.plans = &plans{
		machines: a.machines, urls: a.urls, images: a.cfg.ImageFiles(), key: a.state.key, journal: a.journal, log: a.log,
	}
	if err := checkProfiles(ctx, a.cfg, a.catalog, a.urls, a.log); err != nil {
		return Mistake{err}
	}
	a.web = &web.Server{
		Tree: a.tree, Journal: a.journal, Registry: machines, Status: verdict.Status,
		Verify: m.plans.verify, Reported: orders{m.plans}.reported, Control: orders{m.plans}.control,
		MayOrder: a.access.MayOrder, Log: a.log, Limits: a.budget.conns(web.DefaultLimits),
	}
	return nil
}

// noteServed adds the outcome of a file request to the journal. The client's
// address says which machine it was.
func (a *Appliance) noteServed(c files.Client, ev boot.Event) {
	if mac, ok := a.machines.byAddr.Get(c.Addr); ok {
		ev.MAC = mac
		if m, err := a.machines.registry.Find(context.Background(), mac.String()); err == nil {
			ev.Machine = m.ID
		}
	}
	a.journal.Add(ev)
}

// Close closes the ports, the folders and the store.
func (a *Appliance) Close() error {
	closeAll(a.sockets)
	var errs []error
	if a.uploads != nil {
		errs = append(errs, a.uploads.Close())
	}
	if a.tree != nil {
		errs = append(errs, a.tree.Close())
	}
	if a.state != nil {
		errs = append(errs, a.state.store.Close())
	}
	return errors.Join(errs...)
}
