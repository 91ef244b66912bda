package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/bootlace/bootlace/boot"
)

// A server runs until its context ends, and returns nil then.
type server func(context.Context) error

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
