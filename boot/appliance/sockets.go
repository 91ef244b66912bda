package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/bootlace/bootlace/boot"
)

// A server runs until its context ends, and then returns nil.
type server func(context.Context) error

// A socket is an open port. One of its fields is set.
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

// listenAll opens the ports of all protocols that are on. This happens before
// the state folder is opened. So the error of a second instance names the port.
func listenAll(ctx context.Context, addrs map[string]string) (map[string]socket, error) {
	sockets := map[string]socket{}
	for _, p := range boot.Protocols {
		if addrs[p.Name] == "" {
			continue
		}
		s, err := listenOn(ctx, p, addrs[p.Name])
		if err != nil {
			closeAll(sockets)
			return nil, err
		}
		sockets[p.Name] = s
	}
	return sockets, nil
}

func listenOn(ctx context.Context, p boot.Protocol, addr string) (s socket, err error) {
	if p.Network == "udp" {
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return s, Mistake{fmt.Errorf("%s: %w", p.Name, err)}
		}
		if s.packets, err = net.ListenUDP("udp", to); err != nil {
			return s, listenError(p.Name, "UDP "+addr, err)
		}
		return s, nil
	}
	if s.streams, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
		return s, listenError(p.Name, "TCP "+addr, err)
	}
	return s, nil
}

// listenError explains why a port could not be opened, and what to do.
func listenError(key, addr string, err error) error {
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

func closeAll(sockets map[string]socket) {
	for _, s := range sockets {
		s.Close()
	}
}
