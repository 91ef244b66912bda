//go:build linux

package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Reader takes datagrams from a socket, many a call.
type Reader struct {
	sock  *Socket
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // or Inet4
	oob   [][oobLen]byte
	buf   []byte
	size  int // bytes of buf for one datagram

	// How many datagrams the next call asks for, see adapt.
	batch   int
	full    int // calls in a row that brought that many
	backoff int // such calls before one more is asked for
}

// NewReader makes a reader of up to n datagrams a call, of up to size bytes
// each.
func NewReader(s *Socket, n, size int) *Reader {
	r := &Reader{
		sock: s, msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrInet6, n), oob: make([][oobLen]byte, n), buf: make([]byte, n*size), size: size,
		batch: n,
	}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buf[i*size]
		r.iovs[i].SetLen(size)
		m := &r.msgs[i]
		m.Iov = &r.iovs[i]
		m.SetIovlen(1)
		m.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		m.Control = &r.oob[i][0]
	}
	return r
}

// Read waits for datagrams and returns how many there are. None, without an
// error, means that the socket was interrupted.
func (r *Reader) Read() (int, error) { return r.read(0) }

// ReadNow is Read without waiting: where there is no datagram it returns EAGAIN.
func (r *Reader) ReadNow() (int, error) { return r.read(unix.MSG_DONTWAIT) }

func (r *Reader) read(flags int) (int, error) {
	r.reset()
	for {
		n, errno := r.sock.system.recvmmsg(r.msgs[:r.batch], flags)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case n == 1 && r.msgs[0].Namelen == 0:
			return 0, nil // of no sender: what shutdown(2) lets through
		}
		r.adapt(n)
		return n, nil
	}
}

// reset has the messages take datagrams again.
func (r *Reader) reset() {
	for i := range r.msgs[:r.batch] {
		m := &r.msgs[i]
		m.Namelen = unix.SizeofSockaddrInet6
		m.SetControllen(oobLen)
	}
}

// adapt adapts the batch size to the n datagrams that came. To ask recvmmsg
// for a datagram that is not there costs half as much as to receive one. So
// the next call asks for as many as came, and for one more now and then.
func (r *Reader) adapt(n int) {
	r.full++
	switch {
	case n < r.batch:
		r.batch, r.backoff, r.full = n, min(2*r.backoff+1, Batch), 0
	case r.full > r.backoff || n > 1:
		r.batch, r.backoff, r.full = min(2*n, len(r.msgs)), r.backoff/2, 0
	}
}

// Datagram returns the i-th datagram of the last Read. It is good until the
// next one. A datagram that was cut off is nil.
func (r *Reader) Datagram(i int) []byte {
	m := &r.msgs[i]
	if m.Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	return r.buf[i*r.size:][:m.n]
}

// From is the sender of the i-th datagram. The zone of a link-local address is
// the number of its link.
func (r *Reader) From(i int) netip.AddrPort { return addrPort(&r.names[i]) }

// Local is the address of ours that the i-th datagram was sent to, where
// [Socket.ReportLocal] was called. Not ok is a datagram to a broadcast or
// multicast address, which RFC 1123 section 4.2.3.5 has servers ignore.
func (r *Reader) Local(i int) (l Local, ok bool) { return parseLocal(r.control(i)) }

func (r *Reader) control(i int) []byte { return r.oob[i][:min(int(r.msgs[i].Controllen), oobLen)] }

func addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p := binary.BigEndian.Uint16(port[:])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), p)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if a.IsLinkLocalUnicast() && a.Is6() {
		a = a.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return netip.AddrPortFrom(a, p)
}

// putAddrPort writes an address for a socket of that family, and returns its
// length in bytes.
func putAddrPort(name *unix.RawSockaddrInet6, to netip.AddrPort, v6 bool, ifindex int) uint32 {
	port := binary.BigEndian.AppendUint16(nil, to.Port())
	if !v6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		sa.Family, sa.Addr = unix.AF_INET, to.Addr().As4()
		copy((*[2]byte)(unsafe.Pointer(&sa.Port))[:], port)
		return unix.SizeofSockaddrInet4
	}
	name.Family, name.Addr = unix.AF_INET6, to.Addr().As16()
	copy((*[2]byte)(unsafe.Pointer(&name.Port))[:], port)
	if to.Addr().IsLinkLocalUnicast() && to.Addr().Is6() {
		name.Scope_id = uint32(ifindex)
	}
	return unix.SizeofSockaddrInet6
}
