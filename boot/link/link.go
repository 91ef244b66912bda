package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// A Link is an Ethernet link of this machine.
type Link struct {
	Name    string
	Index   int
	MAC     boot.MAC
	Up      bool // switched on by us
	Carrier bool // and something answers at the other end of the cable
}

// kinds are the links with a socket for a cable. Drivers give their devices no
// kind of their own. The ports of a switch chip are "dsa". Bridges, bonds,
// tunnels and dummies are not asked to boot a machine.
var kinds = []string{"device", "dsa"}

// Links lists the Ethernet links in order of their index. With a name it lists
// that link alone, whatever its kind.
func Links(name string) ([]Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var links []Link
	for _, l := range all {
		a := l.Attrs()
		switch {
		case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
			continue
		case name != "" && a.Name != name, name == "" && !slices.Contains(kinds, l.Type()):
			continue
		}
		links = append(links, Link{
			Name:    a.Name,
			Index:   a.Index,
			MAC:     boot.MAC(a.HardwareAddr),
			Up:      a.Flags&net.FlagUp != 0,
			Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Flags&net.FlagUp != 0,
		})
	}
	sort.Slice(links, func(i, j int) bool { return links[i].Index < links[j].Index })
	return links, nil
}

// Up switches on the loopback and every link of Links(name) that is off. It
// waits for the carrier of none. It is harmless to call again: a driver may
// find its card late.
func Up(log *slog.Logger, name string) error {
	links, err := Links(name)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Up {
			continue
		}
		if err := up(l.Index); err != nil {
			log.Warn("link stays down", "interface", l.Name, "err", err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil || lo.Attrs().Flags&net.FlagUp != 0 {
		return nil // a kernel without loopback still boots a machine
	}
	if err := up(lo.Attrs().Index); err != nil {
		log.Warn("link stays down", "interface", "lo", "err", err)
	}
	return nil
}

func up(index int) error {
	return netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
}

// Carrier waits until a link of Links(name) has a carrier, and returns all that
// do. It brings up links that appear while it waits. The error wraps that of ctx.
func Carrier(ctx context.Context, log *slog.Logger, name string) ([]Link, error) {
	for {
		if err := Up(log, name); err != nil {
			return nil, err
		}
		links, err := Links(name)
		if err != nil {
			return nil, err
		}
		links = slices.DeleteFunc(links, func(l Link) bool { return !l.Carrier })
		if len(links) > 0 {
			return links, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a cable: %w", ctx.Err())
		case <-time.After(carrierPoll):
		}
	}
}

// carrierPoll is how often a link or a disk is looked for. Autonegotiation takes
// 1 to 3 s, so a fifth of one is not felt.
const carrierPoll = 200 * time.Millisecond

// SetAddr makes addr the only IPv4 (or IPv6) address of the link, with its
// subnet route. Link-local addresses stay.
func (l Link) SetAddr(addr netip.Prefix) error {
	dev := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index, Name: l.Name}}
	family := netlink.FAMILY_V4
	if addr.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	want := &netlink.Addr{IPNet: ipNet(addr)}
	have, err := netlink.AddrList(dev, family)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", l.Name, err)
	}
	// The old ones go first. With an address of a subnet Linux removes those
	// that were added to the same subnet after it.
	for _, a := range have {
		if a.IPNet.String() == want.IPNet.String() || a.IP.IsLinkLocalUnicast() {
			continue
		}
		if err := netlink.AddrDel(dev, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s from %s: %w", a.IPNet, l.Name, err)
		}
	}
	if err := netlink.AddrReplace(dev, want); err != nil {
		return fmt.Errorf("set address %s on %s: %w", addr, l.Name, err)
	}
	return nil
}

// SetRoute makes gateway the default route, over this link.
func (l Link) SetRoute(gateway netip.Addr) error {
	family := unix.AF_INET
	if gateway.Is6() {
		family = unix.AF_INET6
	}
	// netlink.RouteReplace would send the same. It can write every kind of
	// route, and is 28 KB of the binary.
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	route := nl.NewRtMsg()
	route.Family = uint8(family)
	req.AddData(route)
	req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(l.Index))))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("set default route via %s on %s: %w", gateway, l.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Board returns the name of the board that this firmware was built for, or
// "unknown" outside our firmware.
func Board() string {
	raw, err := os.ReadFile(board.BoardFile)
	if name := firstLine(raw); err == nil && name != "" {
		return name
	}
	return "unknown"
}
