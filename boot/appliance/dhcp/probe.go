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
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Probe asks on an interface who gives addresses there. It returns the servers
// that offered one, none where it stayed quiet. It takes up to 4.5 s. Nothing is
// taken: the offers lapse. A link that a switch holds back (spanning tree) looks
// quiet.
func Probe(ctx context.Context, iface string, timing Timing) ([]netip.Addr, error) {
	timing = timing.OrDefault()
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("probe: interface %s: %w", iface, err)
	}
	w, err := wire.Open(ifi, wire.IPv4)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	defer w.Close()
	if err := w.Filter(wire.UDPPort(portClient)); err != nil {
		return nil, fmt.Errorf("probe: filter: %w", err)
	}
	discover := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: w.MAC[:],
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
		buf     = make([]byte, wire.MaxMessage)
	)
	stop := context.AfterFunc(ctx, func() { w.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for now := time.Now(); now.Before(end); now = time.Now() {
		if !now.Before(resend) {
			resend = now.Add(timing.ProbeResend)
			if err := w.Send(broadcastFrame(w.MAC, discover)); err != nil {
				return nil, fmt.Errorf("probe: send on %s: %w", iface, err)
			}
		}
		w.SetReadDeadline(earlier(resend, end))
		if ctx.Err() != nil {
			return nil, fmt.Errorf("probe: %w", context.Cause(ctx))
		}
		n, err := w.Read(buf)
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

// broadcastFrame carries a message of a client that has no address.
func broadcastFrame(from wire.MAC, p *dhcpv4.DHCPv4) []byte {
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), portClient)
	everyone := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), portServer)
	return wire.UDP4(from, wire.Broadcast, nobody, everyone, p.ToBytes())
}

// offered reads a frame. It returns the server where that is an OFFER in answer
// to ours, with an address. A ProxyDHCP's has none.
func offered(raw []byte, discover *dhcpv4.DHCPv4) (server netip.Addr, ok bool) {
	payload, from, err := wire.ParseUDP4(raw, portClient)
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

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
