//go:build linux

package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// MaxMessage is more than any client sends in one datagram on Ethernet, in bytes.
const MaxMessage = 4096

// A MAC is an Ethernet address.
type MAC = [6]byte

// Broadcast is the Ethernet address of all machines on a link.
var Broadcast = MAC{255, 255, 255, 255, 255, 255}

// EtherTypes that Open takes (IANA's registry of IEEE 802 numbers).
const (
	Nothing = 0 // a Conn that only sends
	IPv4    = unix.ETH_P_IP
	IPv6    = unix.ETH_P_IPV6
)

// A Conn is a packet socket. It sends and receives whole frames on one
// interface, whatever addresses that has. Several goroutines may use it.
type Conn struct {
	MAC MAC // of the interface

	file  *os.File // reads with deadlines
	raw   syscall.RawConn
	index int
}

// Open opens a packet socket for the frames of one EtherType.
func Open(ifi *net.Interface, etherType uint16) (*Conn, error) {
	protocol := etherType<<8 | etherType>>8 // packet(7): in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("raw frames on %s need root, or the capability net_raw: %w", ifi.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind packet socket to %s: %w", ifi.Name, err)
	}
	c := &Conn{file: os.NewFile(uintptr(fd), "packet"), index: ifi.Index}
	copy(c.MAC[:], ifi.HardwareAddr)
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("packet socket of %s: %w", ifi.Name, err)
	}
	return c, nil
}

// Send sends a frame to the Ethernet address in its head.
func (c *Conn) Send(frame []byte) error {
	to := unix.SockaddrLinklayer{Ifindex: c.index, Halen: 6}
	copy(to.Addr[:6], frame)
	var err error
	if closed := c.raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), frame, 0, &to) }); closed != nil {
		return closed
	}
	return err
}

// Read receives one frame. It ends with an error when the deadline passes or
// the Conn is closed.
func (c *Conn) Read(buf []byte) (int, error) { return c.file.Read(buf) }

// SetReadDeadline bounds calls of Read, also those that wait now.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// Close closes the socket and ends a Read that waits.
func (c *Conn) Close() error { return c.file.Close() }

// Filter lets through only the frames that a program accepts. On a busy link
// the others would fill the socket's buffer.
func (c *Conn) Filter(program []bpf.Instruction) error {
	assembled, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(assembled))
	for i, in := range assembled {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return c.set("attach filter", func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
}

// Join asks the network card for frames to a multicast address of IPv6.
func (c *Conn) Join(group netip.Addr) error {
	m := unix.PacketMreq{Ifindex: int32(c.index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
	to := GroupMAC(group)
	copy(m.Address[:], to[:])
	return c.set("join "+group.String(), func(fd int) error {
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m)
	})
}

// set changes the socket; op says what for.
func (c *Conn) set(op string, change func(fd int) error) error {
	var err error
	if closed := c.raw.Control(func(fd uintptr) { err = change(int(fd)) }); closed != nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// UDPPort is a filter for UDP messages to one port, over IPv4.
func UDPPort(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 23, Size: 1}, // IP protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolUDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 20, Size: 2}, // a later fragment has no ports
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: 14}, // length of the IP header
		bpf.LoadIndirect{Off: 14 + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: MaxMessage},
		bpf.RetConstant{Val: 0},
	}
}

// Routers is a filter for the solicitations and advertisements of routers.
func Routers() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 20, Size: 2}, // next header and hop limit
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMP6<<8 | hopLimit, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 54, Size: 1}, // ICMPv6 type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: RouterSolicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: RouterAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: MaxMessage},
		bpf.RetConstant{Val: 0},
	}
}
