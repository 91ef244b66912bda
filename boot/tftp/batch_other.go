//go:build !linux

package tftp

import (
	"net"
	"net/netip"
	"time"
)

// Elsewhere than on Linux a call carries one datagram, and a server answers
// from the address that the kernel picks: bind it to one address.

const (
	batch   = 1
	rxLen   = 9216
	rxQueue = 4 << 20
)

type socket struct {
	conn *net.UDPConn
	v6   bool
	port netip.AddrPort
}

func newSocket(conn *net.UDPConn) (*socket, error) {
	port := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	return &socket{conn, !port.Addr().Is4(), port}, nil
}

func (s *socket) roomy(n int) {
	s.conn.SetReadBuffer(n)
	s.conn.SetWriteBuffer(n)
}

func (s *socket) fragments(bool) {}

func (s *socket) wake()  { s.conn.SetReadDeadline(time.Unix(1, 0)) }
func (s *socket) close() { s.conn.Close() }

type reader struct {
	*socket
	buf    []byte
	n      int
	sender netip.AddrPort
}

func newReader(s *socket, n, size int) *reader { return &reader{socket: s, buf: make([]byte, size)} }

func (r *reader) read(int) (int, error) {
	n, from, err := r.conn.ReadFromUDPAddrPort(r.buf)
	r.n, r.sender = n, unmap(from)
	return 1, err
}

func (r *reader) datagram(int) []byte     { return r.buf[:r.n] }
func (r *reader) from(int) netip.AddrPort { return r.sender }
func (r *reader) control(int) []byte      { return nil }

func (s *socket) refusals(func(netip.AddrPort)) bool { return false }

type route struct {
	to      netip.AddrPort
	ifindex int
}

func (s *socket) routeTo(to netip.AddrPort, _ local) route { return route{to: to} }
func (r *route) segmented(int)                             {}

type writer struct {
	*socket
	met bool
	buf []byte
}

func newWriter(s *socket, _ func(*route)) *writer { return &writer{socket: s} }

func (w *writer) packet(r *route, p []byte) { w.conn.WriteToUDPAddrPort(p, r.to) }

func (w *writer) block(r *route, block uint16, data, more []byte) {
	w.buf = append(append(appendHeader(w.buf[:0], opDATA, block), data...), more...)
	w.packet(r, w.buf)
}

func (w *writer) flush() {}

func named(a netip.AddrPort) netip.AddrPort { return a }

func nap(d time.Duration) { time.Sleep(d) }
