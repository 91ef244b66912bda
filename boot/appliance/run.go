package appliance

import (
	"context"
	"log/slog"

	"github.com/bootlace/bootlace/boot"
	"golang.org/x/sync/errgroup"
)

// Run serves until ctx ends, and then returns nil. If one server fails, the
// others end as well.
func (a *Appliance) Run(ctx context.Context) error {
	servers, err := a.servers(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range servers {
		group.Go(func() error { return run(ctx) })
	}
	args := []any{"root", a.cfg.Root, "dhcp", a.cfg.DHCP.Mode}
	for _, p := range boot.Protocols {
		args = append(args, p.Name, a.cfg.Listen[p.Name])
	}
	a.log.Info("serving", append(args, "interface", a.urls.linkNames(), "address", a.urls.links[0].addr())...)
	err = group.Wait()
	a.log.Info("stopped", a.served()...)
	return err
}

// served returns log attributes: what each protocol sent.
func (a *Appliance) served() (args []any) {
	for _, p := range boot.Protocols {
		if _, on := a.sockets[p.Name]; on {
			n := a.tree.Count(p.Name)
			args = append(args, slog.Group(p.Name, "files", n.Served.Load(), "failed", n.Failed.Load(), "bytes", n.Bytes.Load()))
		}
	}
	return args
}
