package dhcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Probe asks on an interface who gives addresses there and returns the servers
// that offered one, none where it stayed quiet. It takes up to 4.5 s. Nothing
// is taken: the offers lapse. A link that a switch holds back (spanning tree)
// looks quiet.
func Probe(ctx context.Context, iface string) ([]netip.Addr, error) {
	return probe(ctx, iface, DefaultTiming)
}

func probe(ctx context.Context, iface string, timing Timing) ([]netip.Addr, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("probe: interface %s: %w", iface, err)
	}
	w, err := openWire(ifi, unix.ETH_P_IP)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	if err := w.only(portClient); err != nil {
		w.Close()
		return nil, fmt.Errorf("probe: filter: %w", err)
	}
	// os.NewFile gives reads from the packet socket a deadline.
	f := os.NewFile(uintptr(w.fd), "packet")
	defer f.Close()
	discover := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: w.mac[:],
		Options: dhcpv4.OptionsFromList(
			dhcpv4.OptMessageType(dhcpv4.MessageTypeDiscover),
			dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter),
		),
	}
	discover.SetBroadcast()
	rand.Read(discover.TransactionID[:])
	var (
		servers []netip.Addr
		end     = time.Now().Add(timing.ProbeWait)
		resend  time.Time
		buf     = make([]byte, maxMessage)
	)
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for now := time.Now(); now.Before(end); now = time.Now() {
		if !now.Before(resend) {
			resend = now.Add(timing.ProbeResend)
			if err := w.discover(discover); err != nil {
				return nil, fmt.Errorf("probe: send on %s: %w", iface, err)
			}
		}
		f.SetReadDeadline(earlier(resend, end))
		if ctx.Err() != nil {
			return nil, fmt.Errorf("probe: %w", context.Cause(ctx))
		}
		n, err := f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("probe: read on %s: %w", iface, err)
		}
		server, ok := offered(buf[:n], discover)
		if !ok || slices.Contains(servers, server) {
			continue
		}
		if servers = append(servers, server); len(servers) == 1 {
			end = earlier(end, time.Now().Add(timing.ProbeMore))
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	return servers, nil
}

func (w *wire) discover(p *dhcpv4.DHCPv4) error {
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), portClient)
	all := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portServer)
	return w.send(broadcast, nobody, all, p.ToBytes())
}

// offered reads a frame; it returns the server where that is an OFFER of an
// address in answer to ours. A ProxyDHCP's has none.
func offered(raw []byte, discover *dhcpv4.DHCPv4) (server netip.Addr, ok bool) {
	payload, from, err := unframe(raw, portClient)
	if err != nil {
		return server, false
	}
	p, err := dhcpv4.FromBytes(payload)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != discover.TransactionID ||
		p.MessageType() != dhcpv4.MessageTypeOffer || !addr4(p.YourIPAddr).IsValid() || len(p.ClientHWAddr) != 6 ||
		boot.MAC(p.ClientHWAddr) != boot.MAC(discover.ClientHWAddr) {
		return server, false
	}
	if server = addr4(p.Options.Get(dhcpv4.OptionServerIdentifier)); !server.IsValid() {
		server = from.Addr()
	}
	return server, true
}

// only lets through UDP to one port, so that a busy link does not drown it.
func (w *wire) only(port uint16) error {
	return w.attach([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 23, Size: 1}, // IP protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 20, Size: 2}, // a later fragment has no ports
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: 14}, // length of the IP header
		bpf.LoadIndirect{Off: 14 + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: maxMessage},
		bpf.RetConstant{Val: 0},
	})
}

func (w *wire) attach(instructions []bpf.Instruction) error {
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
