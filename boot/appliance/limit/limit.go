package limit

import (
	"net"
	"net/netip"
	"sync"
)

// Bounds is how many connections a server may have.
type Bounds struct {
	Total int // in all

	// PerHost is the most that one address may hold. It also never holds more
	// than the slots that are left. So addresses with many connections are
	// refused first as the server fills up.
	PerHost int
}

// Or returns b, or other where b is zero.
func (b Bounds) Or(other Bounds) Bounds {
	if b == (Bounds{}) {
		return other
	}
	return b
}

// Conns counts the connections of one server. It is safe for use by several
// goroutines.
type Conns struct {
	Bounds

	mu    sync.Mutex
	n     int
	hosts map[netip.Addr]int
}

// Take counts one connection of host until Release. It reports false where the
// bounds are reached.
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

// Release ends what Take began.
func (c *Conns) Release(host netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.hosts[host]--; c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// Listen returns a TCP listener that accepts connections within the bounds. It
// passes others to refuse and closes them. refuse must not wait, and may be
// nil.
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

// A conn embeds the TCP connection, so that sendfile works.
type conn struct {
	*net.TCPConn
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

// Host returns the IP address of a. A unix socket's peer has none and gives the
// zero Addr.
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
