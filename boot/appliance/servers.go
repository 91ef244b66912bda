package appliance

import (
	"context"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
)

// fileServers has a constructor for each row of boot.Protocols.
var fileServers = map[string]func(*Appliance, socket) server{
	"tftp": func(a *Appliance, s socket) server { return a.serveTFTP(s.packets) },
	"ftp": func(a *Appliance, s socket) server {
		srv := &ftp.Server{
			Config: a.cfg.FTP, Tree: a.tree, Access: a.access, Log: a.log, Limits: a.budget.conns(ftp.DefaultLimits),
		}
		return func(ctx context.Context) error { return srv.Serve(ctx, s.streams) }
	},
	"http": func(a *Appliance, s socket) server {
		return func(ctx context.Context) error { return a.web.Serve(ctx, s.streams) }
	},
}

// servers returns all servers of the appliance.
func (a *Appliance) servers(ctx context.Context) ([]server, error) {
	list, err := a.linkServers(ctx)
	if err != nil {
		return nil, err
	}
	control, err := a.state.listenControl()
	if err != nil {
		return nil, err
	}
	list = append(list, a.catalog.Run, func(ctx context.Context) error { return a.web.ServeControl(ctx, control) })
	for _, p := range boot.Protocols {
		if s, on := a.sockets[p.Name]; on {
			list = append(list, fileServers[p.Name](a, s))
		}
	}
	return list, nil
}
