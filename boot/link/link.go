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

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/wire"
)

// A Link is an Ethernet link of this machine.
type Link struct {
	Name    string
	Index   int
	MAC     boot.MAC
	Up      bool // switched on by us
	Carrier bool // and something answers at the other end of the cable
}

// Links lists the Ethernet links in order of their index. With a name it lists
// that link alone, whatever its kind. Without, it lists those with a socket for a
// cable. Bridges, bonds, tunnels and dummies are not asked to boot a machine.
func Links(name string) ([]Link, error) {
	var links []Link
	err := withKernel(func(kernel *wire.Netlink) error {
		all, err := kernel.Interfaces()
		for _, i := range all {
			switch {
			case i.Type != unix.ARPHRD_ETHER || len(i.MAC) != 6:
				continue
			case name != "" && i.Name != name, name == "" && !hasSocket(i.Kind):
				continue
			}
			up := i.Flags&unix.IFF_UP != 0
			links = append(links, Link{
				Name:    i.Name,
				Index:   i.Index,
				MAC:     boot.MAC(i.MAC),
				Up:      up,
				Carrier: up && i.Flags&unix.IFF_LOWER_UP != 0,
			})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	sort.Slice(links, func(i, j int) bool { return links[i].Index < links[j].Index })
	return links, nil
}

// hasSocket reports whether links of a kind have a socket for a cable. Drivers
// give their devices no kind of their own. The ports of a switch chip are dsa.
func hasSocket(kind string) bool { return kind == "" || kind == "dsa" }

// withKernel opens a Netlink for one task.
func withKernel(do func(*wire.Netlink) error) error {
	kernel, err := wire.OpenNetlink()
	if err != nil {
		return err
	}
	defer kernel.Close()
	return do(kernel)
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
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp != 0 {
		return nil // a kernel without loopback still boots a machine
	}
	if err := up(lo.Index); err != nil {
		log.Warn("link stays down", "interface", "lo", "err", err)
	}
	return nil
}

func up(index int) error {
	return withKernel(func(kernel *wire.Netlink) error { return kernel.SwitchOn(index) })
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
	return withKernel(func(kernel *wire.Netlink) error { return l.setAddr(kernel, addr) })
}

func (l Link) setAddr(kernel *wire.Netlink, addr netip.Prefix) error {
	have, err := kernel.Addrs(l.Index)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", l.Name, err)
	}
	// The old ones go first. With an address of a subnet Linux removes those
	// that were added to the same subnet after it.
	for _, a := range have {
		if a == addr || a.Addr().Is4() != addr.Addr().Is4() || a.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := kernel.RemoveAddr(l.Index, a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s from %s: %w", a, l.Name, err)
		}
	}
	if err := kernel.SetAddr(l.Index, addr); err != nil {
		return fmt.Errorf("set address %s on %s: %w", addr, l.Name, err)
	}
	return nil
}

// SetRoute makes gateway the default route, over this link.
func (l Link) SetRoute(gateway netip.Addr) error {
	err := withKernel(func(kernel *wire.Netlink) error { return kernel.SetDefaultRoute(l.Index, gateway) })
	if err != nil {
		return fmt.Errorf("set default route via %s on %s: %w", gateway, l.Name, err)
	}
	return nil
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
