//go:build linux

package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// segments is how many datagrams leave as one. A receiver takes the first
	// half of a window of 64 while the other half leaves.
	segments = 32

	maxSegmented = 65000 // bytes that the kernel may cut up in one call
)

// HeadLen is how long the head of a [Writer.Block] is, in bytes.
const HeadLen = 4

// A Route is the way to a peer: its address, and ours from which it is spoken
// to.
type Route struct {
	name    unix.RawSockaddrInet6 // or Inet4
	namelen uint32
	oob     [oobLen]byte // our address and link; behind it the size of a segment
	local   int          // bytes of the first
	both    int          // and of both; 0: datagrams are sent one by one
	segment int          // the size
	ifindex int
}

// RouteTo makes the route from one of our addresses to a peer.
func (s *Socket) RouteTo(to netip.AddrPort, from Local) (r Route) {
	r.namelen = putAddrPort(&r.name, to, s.v6, from.Ifindex)
	r.local, r.ifindex = copy(r.oob[:], from.control()), from.Ifindex
	return r
}

// Ifindex is the link of the route.
func (r *Route) Ifindex() int { return r.ifindex }

// Segment has blocks whose datagrams are size bytes long leave many a call
// (UDP_SEGMENT). The kernel or the network card cuts them up.
func (r *Route) Segment(size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&r.oob[r.local]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(r.oob[r.local+unix.CmsgLen(0):], uint16(size))
	r.both, r.segment = r.local+unix.CmsgSpace(2), size
}

// Segmented reports whether Segment still holds: a link may refuse to cut up.
func (r *Route) Segmented() bool { return r.both != 0 }

// A Writer gathers datagrams and sends them in few calls. It keeps pointers to
// what it is given until Flush.
type Writer struct {
	sock *Socket

	// Unsegmentable is told of a route whose link cannot cut datagrams up. nil:
	// nobody is.
	Unsegmentable func(*Route)

	msgs    []mmsghdr
	routes  []*Route
	n       int // messages
	iovs    []unix.Iovec
	used    int // iovs
	heads   [][HeadLen]byte
	blocks  int // heads
	pending bool
	size    int // bytes in the last message
	whole   int // datagrams in it, none where it takes no more
}

// NewWriter makes a writer of calls of up to [Batch] messages.
func NewWriter(s *Socket) *Writer {
	const blocks = 4 * Batch
	return &Writer{
		sock: s, msgs: make([]mmsghdr, Batch), routes: make([]*Route, Batch),
		iovs: make([]unix.Iovec, 4*blocks), heads: make([][HeadLen]byte, blocks),
	}
}

// Packet adds a datagram.
func (w *Writer) Packet(r *Route, p []byte) {
	if w.n == len(w.msgs) || w.used == len(w.iovs) {
		w.Flush()
	}
	w.begin(r)
	w.add(p)
}

// Block adds a datagram of a head and data, in one piece or two. It joins the
// message before it where both go the same way and the route is segmented. Of
// a message only the last datagram may be shorter than the others.
func (w *Writer) Block(r *Route, head [HeadLen]byte, data, more []byte) {
	size := HeadLen + len(data) + len(more)
	if w.used+3 > len(w.iovs) || w.blocks == len(w.heads) {
		w.Flush()
	}
	if w.n == 0 || w.routes[w.n-1] != r || r.both == 0 || w.whole == 0 || w.whole == segments || w.size+size > maxSegmented {
		if w.n == len(w.msgs) {
			w.Flush()
		}
		w.begin(r)
	}
	if w.whole++; w.whole == 2 {
		m := &w.msgs[w.n-1]
		m.Control = &r.oob[0]
		m.SetControllen(r.both)
	}
	h := &w.heads[w.blocks]
	w.blocks++
	*h = head
	w.add(h[:])
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

func (w *Writer) begin(r *Route) {
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

func (w *Writer) add(p []byte) {
	v := &w.iovs[w.used]
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
	w.used++
	w.msgs[w.n-1].Iovlen++
	w.size += len(p)
}

// Flush sends what was gathered. What cannot be sent is lost, as on a bad link.
func (w *Writer) Flush() {
	for i, again := 0, true; i < w.n; {
		n, errno := w.sock.system.sendmmsg(w.msgs[i:w.n])
		switch {
		case errno == 0:
			i, again = i+n, true
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			i = w.n // the link took nothing for long
		case errno == unix.EMSGSIZE && w.sock.atomic:
			w.sock.SetFragments(true) // a path became narrower, or blocks need fragments
		case (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE) && int(w.msgs[i].Controllen) > w.routes[i].local:
			// EIO is of the link. Any other is of these datagrams, which are too
			// long; Linux 6.13 and later say EMSGSIZE.
			if errno == unix.EIO && w.Unsegmentable != nil {
				w.Unsegmentable(w.routes[i])
			}
			w.oneByOne(i)
			i++
		case again:
			// The error may be of an earlier datagram, and this one not have left.
			w.pending, again = true, false
		default:
			i, again = i+1, true
		}
	}
	w.n, w.used, w.blocks, w.whole = 0, 0, 0, 0
}

// PendingError reports once that a Flush met an error that an earlier datagram
// caused, see [Socket.Refused].
func (w *Writer) PendingError() bool {
	p := w.pending
	w.pending = false
	return p
}

// oneByOne sends the datagrams of a message that the link does not cut up.
func (w *Writer) oneByOne(i int) {
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
		w.sock.system.sendmmsg(w.msgs[i : i+1])
		iovs = iovs[n:]
	}
	r.both = 0
}
