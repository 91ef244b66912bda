package tftp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A route is the way to a peer: its address, and ours from which it is spoken to.
type route struct {
	name    unix.RawSockaddrInet6 // or Inet4
	namelen uint32
	oob     [oobLen]byte // our address and link; behind it the size of a segment
	local   int          // bytes of the first
	both    int          // and of both; 0: datagrams are sent one by one
	segment int          // the size
	ifindex int          // the link
}

// routeTo makes the way from one of our addresses to a peer, over a socket for
// IPv4, or for IPv6 and perhaps both.
func (s *socket) routeTo(to netip.AddrPort, at local) (r route) {
	port := binary.BigEndian.AppendUint16(nil, to.Port())
	if !s.v6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.name))
		sa.Family, sa.Addr, r.namelen = unix.AF_INET, to.Addr().As4(), unix.SizeofSockaddrInet4
		copy((*[2]byte)(unsafe.Pointer(&sa.Port))[:], port)
	} else {
		sa := &r.name
		sa.Family, sa.Addr, r.namelen = unix.AF_INET6, to.Addr().As16(), unix.SizeofSockaddrInet6
		copy((*[2]byte)(unsafe.Pointer(&sa.Port))[:], port)
		if to.Addr().IsLinkLocalUnicast() && to.Addr().Is6() {
			sa.Scope_id = uint32(at.ifindex)
		}
	}
	r.local, r.ifindex = copy(r.oob[:], at.control()), at.ifindex
	return r
}

// segmented has datagrams of size bytes leave many a call (UDP_SEGMENT).
func (r *route) segmented(size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&r.oob[r.local]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(r.oob[r.local+unix.CmsgLen(0):], uint16(size))
	r.both, r.segment = r.local+unix.CmsgSpace(2), size
}

// A writer gathers datagrams and sends them in few calls. It keeps pointers to
// what it is given until it is flushed.
type writer struct {
	*socket
	refused func(*route) // told of a route whose link cannot cut datagrams up

	msgs   []mmsghdr
	routes []*route
	n      int // messages
	iovs   []unix.Iovec
	used   int // iovs
	heads  [][headerLen]byte
	blocks int  // heads
	met    bool // an error of a packet that was sent before
	size   int  // bytes in the last message
	whole  int  // datagrams in it, none where it takes no more
}

// newWriter makes a writer of calls of up to a batch of messages.
func newWriter(s *socket, refused func(*route)) *writer {
	const blocks = 4 * batch
	return &writer{
		socket: s, refused: refused, msgs: make([]mmsghdr, batch), routes: make([]*route, batch),
		iovs: make([]unix.Iovec, 4*blocks), heads: make([][headerLen]byte, blocks),
	}
}

// packet adds a datagram.
func (w *writer) packet(r *route, p []byte) {
	if w.n == len(w.msgs) || w.used == len(w.iovs) {
		w.flush()
	}
	w.begin(r)
	w.add(p)
}

// block adds a DATA packet, its data in one piece or two. One that goes the same
// way as the one before it leaves in the same message, where the route has that;
// only the last of one may be shorter than the others.
func (w *writer) block(r *route, block uint16, data, more []byte) {
	size := headerLen + len(data) + len(more)
	if w.used+3 > len(w.iovs) || w.blocks == len(w.heads) {
		w.flush()
	}
	if w.n == 0 || w.routes[w.n-1] != r || r.both == 0 || w.whole == 0 || w.whole == segments || w.size+size > segmentable {
		if w.n == len(w.msgs) {
			w.flush()
		}
		w.begin(r)
	}
	if w.whole++; w.whole == 2 {
		w.msgs[w.n-1].SetControllen(r.both)
	}
	head := &w.heads[w.blocks]
	w.blocks++
	appendHeader(head[:0], opDATA, block)
	w.add(head[:])
	if len(data) > 0 {
		w.add(data)
	}
	if len(more) > 0 {
		w.add(more)
	}
	if size < r.segment {
		w.whole = 0
	}
}

func (w *writer) begin(r *route) {
	m := &w.msgs[w.n]
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.name)), r.namelen
	m.Control, m.Iov = nil, &w.iovs[w.used]
	m.SetControllen(r.local)
	if r.local > 0 {
		m.Control = &r.oob[0]
	}
	m.SetIovlen(0)
	w.routes[w.n] = r
	w.n++
	w.size, w.whole = 0, 0
}

func (w *writer) add(p []byte) {
	v := &w.iovs[w.used]
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
	w.used++
	w.msgs[w.n-1].Iovlen++
	w.size += len(p)
}

// flush sends what was gathered. What cannot be sent is lost, as on a bad link.
func (w *writer) flush() {
	for i, again := 0, true; i < w.n; {
		n, _, errno := w.sendmmsg(i)
		switch {
		case errno == 0:
			i, again = i+int(n), true
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			i = w.n // the link took nothing for long
		case errno == unix.EMSGSIZE && w.atomic:
			w.fragments(true) // a path became narrower, or blocks were granted that need it
		case (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE) && int(w.msgs[i].Controllen) > w.routes[i].local:
			if errno == unix.EIO { // else only its own datagrams are too long; Linux 6.13 and later say EMSGSIZE
				w.refused(w.routes[i])
			}
			w.oneByOne(i)
			i++
		case again:
			// It may be what an earlier packet met, and this one not have left.
			w.met, again = true, false
		default:
			i, again = i+1, true
		}
	}
	w.n, w.used, w.blocks, w.whole = 0, 0, 0, 0
}

// sendmmsg sends the messages from i on. A few go without a word to Go's
// scheduler, if that takes no wait.
func (w *writer) sendmmsg(i int) (n, _ uintptr, errno unix.Errno) {
	const few = 4
	first, left := uintptr(unsafe.Pointer(&w.msgs[i])), uintptr(w.n-i)
	if left <= few {
		if n, _, errno = unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(w.fd), first, left, unix.MSG_DONTWAIT, 0, 0); errno != unix.EAGAIN {
			return n, 0, errno
		}
	}
	return unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.fd), first, left, 0, 0, 0)
}

// oneByOne sends the datagrams of a message that the link does not cut up.
func (w *writer) oneByOne(i int) {
	m, r := &w.msgs[i], w.routes[i]
	iovs := unsafe.Slice(m.Iov, m.Iovlen)
	m.SetControllen(r.local)
	for len(iovs) > 0 {
		n, sum := 0, 0
		for ; n < len(iovs) && sum+int(iovs[n].Len) <= r.segment; n++ {
			sum += int(iovs[n].Len)
		}
		m.Iov = &iovs[0]
		m.SetIovlen(n)
		unix.Syscall(unix.SYS_SENDMSG, uintptr(w.fd), uintptr(unsafe.Pointer(&m.Msghdr)), 0)
		iovs = iovs[n:]
	}
	r.both = 0
}
