package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
)

// A server runs until its context ends, and returns nil then.
type server func(context.Context) error

// fileServers has the constructor of each row of boot.Protocols.
var fileServers = map[string]func(*Appliance, socket) server{
	"tftp": func(a *Appliance, s socket) server { return a.serveTFTP(s.packets) },
	"ftp": func(a *Appliance, s socket) server {
		srv := &ftp.Server{
			Config: a.cfg.FTP, Tree: a.tree, Log: a.log, Limits: a.budget.conns(ftp.DefaultLimits),
		}
		return func(ctx context.Context) error { return srv.Serve(ctx, s.streams) }
	},
	"http": func(a *Appliance, s socket) server {
		return func(ctx context.Context) error { return a.web.Serve(ctx, s.streams) }
	},
}

// A socket is an open port: one of the two is set.
type socket struct {
	packets *net.UDPConn
	streams net.Listener
}

func (s socket) Close() error {
	if s.packets != nil {
		return s.packets.Close()
	}
	return s.streams.Close()
}

// listen opens the ports of all protocols that are on. It comes before the
// state folder, so that of two instances the second names the port.
func listen(ctx context.Context, at map[string]string) (map[string]socket, error) {
	open := map[string]socket{}
	for _, p := range boot.Protocols {
		if at[p.Name] == "" {
			continue
		}
		s, err := listenOn(ctx, p, at[p.Name])
		if err != nil {
			closeAll(open)
			return nil, err
		}
		open[p.Name] = s
	}
	return open, nil
}

func listenOn(ctx context.Context, p boot.Protocol, addr string) (s socket, err error) {
	if p.Network == "udp" {
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return s, Mistake{fmt.Errorf("%s: %w", p.Name, err)}
		}
		if s.packets, err = net.ListenUDP("udp", to); err != nil {
			return s, busy(p.Name, "UDP "+addr, err)
		}
		return s, nil
	}
	if s.streams, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
		return s, busy(p.Name, "TCP "+addr, err)
	}
	return s, nil
}

// busy explains an error of listening: which port, which key, what to do.
func busy(key, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return Mistake{fmt.Errorf("%s: %s is taken by another program; stop that one, or choose --%s ADDR or --%s off", key, addr, key, key)}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return Mistake{fmt.Errorf("%s: %s is no address of this machine", key, addr)}
	case errors.Is(err, syscall.EACCES):
		return Mistake{fmt.Errorf("%s: %s needs root or CAP_NET_BIND_SERVICE", key, addr)}
	}
	return fmt.Errorf("%s: listen on %s: %w", key, addr, err)
}

func closeAll(open map[string]socket) {
	for _, s := range open {
		s.Close()
	}
}

// servers lists what Run runs.
func (a *Appliance) servers(ctx context.Context) ([]server, error) {
	list, err := a.dhcpServers(ctx)
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

// dhcpServers opens one server a link.
func (a *Appliance) dhcpServers(ctx context.Context) ([]server, error) {
	if a.cfg.DHCP.Mode == config.Off {
		return nil, nil
	}
	mode := dhcp.Mode(a.cfg.DHCP.Mode)
	infos := &bootInfos{machines: a.machines, urls: a.urls, addresses: mode == dhcp.Full}
	var list []server
	for _, l := range a.urls.links {
		if mode == dhcp.Full && !a.cfg.DHCP.Force {
			others, err := dhcp.Probe(ctx, l.name)
			if err != nil {
				return nil, fmt.Errorf("dhcp: look for another server on %s: %w", l.name, err)
			}
			if len(others) > 0 {
				return nil, Mistake{fmt.Errorf("dhcp: %v gives addresses on %s already; --dhcp proxy works beside it, --force ignores it", others, l.name)}
			}
		}
		s := &dhcp.Server{
			Mode: mode, Interface: l.name, Addr: a.cfg.Advertise, Leases: a.leases, Six: a.cfg.DHCP.Six,
			Decide: infos.decide, Log: a.log,
			Note: func(ev boot.Event) { a.journal.Add(ev) },
			Seen: a.machines.saw,
		}
		if err := s.Listen(); err != nil {
			return nil, Mistake{err}
		}
		list = append(list, s.Run)
	}
	return list, nil
}
