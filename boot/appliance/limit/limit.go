// Package limit bounds how many connections strangers hold on a server of the
// serving half.
package limit

import (
	"net"
	"net/netip"
	"sync"
)

// Conns bounds the connections of one server. It is safe for use by several
// goroutines.
type Conns struct {
	Total   int // in all
	PerHost int // from one address, and no more than are left: the last ones go to those who have the fewest

	mu    sync.Mutex
	n     int
	hosts map[netip.Addr]int
}

// Take counts one connection of host until Release, and reports false where
// there are enough.
func (c *Conns) Take(host netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts[host] >= min(c.PerHost, c.Total-c.n) {
		return false
	}
	if c.hosts == nil {
		c.hosts = map[netip.Addr]int{}
	}
	c.n++
	c.hosts[host]++
	return true
}

// Release gives back what Take took.
func (c *Conns) Release(host netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.hosts[host]--; c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// Listen returns a listener of TCP connections that accepts those within the
// bounds. The others are given to refuse, which must not wait and may be nil,
// and are closed.
func (c *Conns) Listen(l net.Listener, refuse func(net.Conn)) net.Listener {
	return &listener{l, c, refuse}
}

type listener struct {
	net.Listener
	conns  *Conns
	refuse func(net.Conn)
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := Host(c.RemoteAddr())
		tcp, ok := c.(*net.TCPConn)
		if ok && l.conns.Take(host) {
			return &conn{TCPConn: tcp, release: sync.OnceFunc(func() { l.conns.Release(host) })}, nil
		}
		if l.refuse != nil {
			l.refuse(c)
		}
		c.Close()
	}
}

// A conn embeds the TCP connection itself, so that sendfile stays possible.
type conn struct {
	*net.TCPConn
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

// Host returns the address behind a, or the zero Addr where it has none, as a
// unix socket's peer.
func Host(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
