//go:build linux

package udp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"sort"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxPortQueue is how many datagrams wait at a port of a Network, at most.
const maxPortQueue = 4096

// A Network carries datagrams between ports in memory. Everything that waits
// there waits on channels and timers alone, so a testing/synctest bubble may
// hold it. Nothing is merged, and a port that nobody listens on refuses.
type Network struct {
	// Path says when copies of a datagram arrive: after each of these times. No
	// time is a datagram that is lost. nil: all arrive, once and at once. It is
	// called with the network locked.
	Path func(from, to netip.AddrPort, p []byte) (copies []time.Duration)

	mu     sync.Mutex
	ports  map[netip.AddrPort]*port
	next   uint16   // last free port that was given
	flying []flight // in the order in which they arrive
}

// A datagram waits at a port.
type datagram struct {
	from netip.AddrPort
	p    []byte
}

// A flight is a datagram on its way.
type flight struct {
	datagram
	to netip.AddrPort
	at time.Time // when it arrives
}

// A port is one end in a Network. It stands in for the kernel's socket, so it
// has a method for each system call of system.
type port struct {
	net     *Network
	addr    netip.AddrPort
	peer    netip.AddrPort // whom a connected port hears alone
	partner *port          // the connected one on the same address

	arrived chan struct{} // room for one: something below has changed

	// Guarded by net.mu.
	queue       []datagram
	closedPeers []netip.AddrPort // that a datagram of ours met
	timeout     time.Duration    // of a receive; 0: none
	deadline    time.Time        // likewise, for a PortConn
	interrupted bool
	closed      bool
}

// A PortConn is a port as an unbatched socket.
type PortConn struct{ port *port }

// Listen opens a port at an address, which must be a specific one. Port 0 is
// any that is free.
func (n *Network) Listen(at netip.AddrPort) *PortConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports = map[netip.AddrPort]*port{}
	}
	for at.Port() == 0 || n.ports[at] != nil {
		n.next++
		at = netip.AddrPortFrom(at.Addr(), 0x8000|n.next)
	}
	p := &port{net: n, addr: at, arrived: make(chan struct{}, 1)}
	n.ports[at] = p
	return &PortConn{p}
}

// deliver takes a datagram to a port, with the network locked.
func (n *Network) deliver(from, to netip.AddrPort, b []byte) {
	p := n.ports[to]
	if p == nil || p.peer.IsValid() && p.peer != from {
		if sender := n.ports[from]; sender != nil {
			if c := sender.partner; c != nil && c.peer == to {
				sender = c
			}
			sender.closedPeers = append(sender.closedPeers, to)
			sender.notify()
		}
		return
	}
	if c := p.partner; c != nil && c.peer == from {
		p = c
	}
	if len(p.queue) < maxPortQueue {
		p.queue = append(p.queue, datagram{from, b})
		p.notify()
	}
}

// carry sends a copy of a datagram on its way.
func (p *port) carry(to netip.AddrPort, b []byte) {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	b = bytes.Clone(b)
	if n.Path == nil {
		n.deliver(p.addr, to, b)
		return
	}
	for _, d := range n.Path(p.addr, to, b) {
		if d == 0 {
			n.deliver(p.addr, to, b)
			continue
		}
		n.fly(flight{datagram{p.addr, b}, to, time.Now().Add(d)}, d)
	}
}

// fly has a datagram arrive, behind all that left before it and arrive at the
// same time.
func (n *Network) fly(f flight, d time.Duration) {
	i := sort.Search(len(n.flying), func(i int) bool { return n.flying[i].at.After(f.at) })
	n.flying = slices.Insert(n.flying, i, f)
	time.AfterFunc(d, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for len(n.flying) > 0 && !n.flying[0].at.After(time.Now()) {
			f := n.flying[0]
			n.flying = n.flying[1:]
			n.deliver(f.from, f.to, f.p)
		}
	})
}

func (p *port) notify() {
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// wait waits until f is true, with the network locked, or the deadline has
// come. It returns locked.
func (p *port) wait(f func() bool) (timeout bool) {
	p.net.mu.Lock()
	begun := time.Now()
	for !f() {
		until := p.deadline
		if p.timeout > 0 {
			until = begun.Add(p.timeout)
		}
		var timer <-chan time.Time
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return true
			}
			timer = time.After(left)
		}
		p.net.mu.Unlock()
		select {
		case <-p.arrived:
		case <-timer:
		}
		p.net.mu.Lock()
	}
	return false
}

// receive waits for datagrams and calls take for up to most of them. It returns
// what recvmmsg(2) would.
func (p *port) receive(most, flags int, take func(i int, d datagram)) (n int, errno unix.Errno) {
	ready := func() bool {
		return len(p.queue) > 0 || len(p.closedPeers) > 0 || p.interrupted || flags&unix.MSG_DONTWAIT != 0
	}
	timeout := p.wait(ready)
	defer p.net.mu.Unlock()
	switch {
	case timeout:
		return 0, unix.EAGAIN
	case len(p.closedPeers) > 0:
		return 0, unix.ECONNREFUSED
	case len(p.queue) > 0:
		n = min(most, len(p.queue))
		for i, d := range p.queue[:n] {
			take(i, d)
		}
		p.queue = slices.Delete(p.queue, 0, n)
		return n, 0
	case p.interrupted:
		take(0, datagram{})
		return 1, 0
	}
	return 0, unix.EAGAIN
}

func (p *port) recvmmsg(msgs []mmsghdr, flags int) (int, unix.Errno) {
	return p.receive(len(msgs), flags, func(i int, d datagram) {
		m := &msgs[i]
		buf := unsafe.Slice(m.Iov.Base, m.Iov.Len)
		m.n, m.Flags, m.Namelen = uint32(copy(buf, d.p)), 0, 0
		if len(d.p) > len(buf) {
			m.Flags = unix.MSG_TRUNC
		}
		m.SetControllen(0)
		if d.from.IsValid() {
			m.Namelen = putAddrPort((*unix.RawSockaddrInet6)(unsafe.Pointer(m.Name)), d.from, !d.from.Addr().Is4(), 0)
		}
	})
}

func (p *port) recv(buf []byte, flags int) (n int, errno unix.Errno) {
	_, errno = p.receive(1, flags, func(_ int, d datagram) {
		copy(buf, d.p)
		n = len(d.p)
	})
	return n, errno
}

func (p *port) sendmmsg(msgs []mmsghdr) (int, unix.Errno) {
	for i := range msgs {
		m := &msgs[i]
		var all []byte
		for _, v := range unsafe.Slice(m.Iov, m.Iovlen) {
			all = append(all, unsafe.Slice(v.Base, v.Len)...)
		}
		to := addrPort((*unix.RawSockaddrInet6)(unsafe.Pointer(m.Name)))
		size := segmentOf(m)
		for first := true; first || len(all) > 0; first = false {
			n := min(size, len(all))
			p.carry(to, all[:n])
			all = all[n:]
		}
	}
	return len(msgs), 0
}

// segmentOf reads the control message of UDP_SEGMENT. Without one it is more
// than a datagram can have.
func segmentOf(m *mmsghdr) int {
	const none = 1 << 16
	if m.Controllen == 0 {
		return none
	}
	msgs, _ := unix.ParseSocketControlMessage(unsafe.Slice(m.Control, m.Controllen))
	for _, c := range msgs {
		if c.Header.Level == unix.IPPROTO_UDP && c.Header.Type == unix.UDP_SEGMENT && len(c.Data) >= 2 {
			return int(binary.NativeEndian.Uint16(c.Data))
		}
	}
	return none
}

func (p *port) send(b []byte) { p.carry(p.peer, b) }

func (p *port) setReceiveTimeout(d time.Duration) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.timeout = d
}

func (p *port) refused(f func(netip.AddrPort)) (found bool) {
	p.net.mu.Lock()
	peers := p.closedPeers
	p.closedPeers = nil
	p.net.mu.Unlock()
	for _, peer := range peers {
		f(peer)
	}
	return len(peers) > 0
}

func (p *port) interrupt() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.interrupted = true
	p.notify()
}

func (p *port) close() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.closed = true
	if q := p.net.ports[p.addr]; q == p {
		delete(p.net.ports, p.addr)
		if p.partner != nil {
			p.net.ports[p.addr] = p.partner
		}
	} else if q != nil && q.partner == p {
		q.partner = nil
	}
	p.notify()
}

// A port keeps no queues of the kernel's and knows no fragments.
func (p *port) setSendTimeout(time.Duration) {}
func (p *port) setBuffers(int)               {}
func (p *port) setFragments(bool) error      { return nil }
func (p *port) setGRO() error                { return unix.ENOPROTOOPT }
func (p *port) reportLocal() error           { return nil }
func (p *port) reportRefused()               {}

// pathMTU is the loopback's.
func (p *port) pathMTU(netip.Addr, netip.AddrPort) int { return 65536 }

func (p *port) listen(at netip.AddrPort, _ bool) (PacketConn, error) { return p.net.Listen(at), nil }

func (c *PortConn) system() system { return c.port }

// connect opens the port's partner, which hears the peer alone.
func (c *PortConn) connect(peer netip.AddrPort) system {
	p := c.port
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.partner = &port{net: p.net, addr: p.addr, peer: peer, arrived: make(chan struct{}, 1)}
	return p.partner
}

// ReadFromUDPAddrPort waits for a datagram. A peer's port that turned out to be
// closed is ECONNREFUSED.
func (c *PortConn) ReadFromUDPAddrPort(buf []byte) (n int, from netip.AddrPort, err error) {
	p := c.port
	timeout := p.wait(func() bool { return len(p.queue) > 0 || len(p.closedPeers) > 0 || p.closed })
	defer p.net.mu.Unlock()
	switch {
	case p.closed:
		return 0, from, net.ErrClosed
	case timeout:
		return 0, from, os.ErrDeadlineExceeded
	case len(p.closedPeers) > 0:
		p.closedPeers = nil
		return 0, from, unix.ECONNREFUSED
	}
	d := p.queue[0]
	p.queue = p.queue[1:]
	return copy(buf, d.p), d.from, nil
}

// WriteToUDPAddrPort sends a datagram.
func (c *PortConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.port.carry(to, b)
	return len(b), nil
}

// SetReadDeadline holds for a read that waits already as well.
func (c *PortConn) SetReadDeadline(t time.Time) error {
	c.port.net.mu.Lock()
	defer c.port.net.mu.Unlock()
	c.port.deadline = t
	c.port.notify()
	return nil
}

// LocalAddr is a *net.UDPAddr.
func (c *PortConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.port.addr) }

// Close closes the port. A read that waits ends.
func (c *PortConn) Close() error {
	c.port.close()
	return nil
}
