package nettest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// A Memory is a listener whose connections never leave the process. It works
// inside a testing/synctest bubble, where nobody may wait on a socket.
type Memory struct {
	conns  chan net.Conn
	closed chan struct{}
	end    func()
}

// NewMemory returns a Memory that takes connections until it is closed.
func NewMemory() *Memory {
	m := &Memory{conns: make(chan net.Conn), closed: make(chan struct{})}
	m.end = sync.OnceFunc(func() { close(m.closed) })
	return m
}

// MemoryAddr is the address of every Memory.
var MemoryAddr = netip.MustParseAddrPort("192.0.2.1:80")

// Dial connects from the address from. Nothing is buffered on the way: a Write
// returns once the other end has read it all. A closed Memory refuses.
func (m *Memory) Dial(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- &memoryConn{server, MemoryAddr, from}:
		return &memoryConn{client, from, MemoryAddr}, nil
	case <-m.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *Memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *Memory) Close() error { m.end(); return nil }

func (m *Memory) Addr() net.Addr { return net.TCPAddrFromAddrPort(MemoryAddr) }

type memoryConn struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c *memoryConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *memoryConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
