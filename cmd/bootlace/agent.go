package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bootlace/bootlace/boot/agent"
	"github.com/bootlace/bootlace/boot/agent/flash"
)

// initMain is the firmware: PID 1 of the device or of the appliance. It comes
// back only when the kernel is about to panic.
func initMain() int {
	return exitStatus(agent.Run(context.Background(), agent.Config{Version: version, Serve: serveVolume, Init: true}))
}

// runAgent is the device half on an ordinary machine, to try a plan out. It
// never mounts or resets anything.
func runAgent(ctx context.Context, args []string) error {
	set := newFlags("agent", "--interface IF --disk FILE [flags]")
	iface := set.String("interface", "", "link to use; its addresses are replaced (`IF`)")
	disk := set.String("disk", "", "the only disk, a `FILE` or a block device: what a plan says is written there")
	server := set.String("server", "", "`ADDR` of the appliance, ahead of what DHCP says")
	addr := set.String("addr", "", "`CIDR` of the link, instead of asking for one")
	board := set.String("board", "", "be a `BOARD` of this name")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if *iface == "" || len(operands) > 0 {
		return usageError{errors.New("agent: want --interface IF, whose addresses are replaced; on a device the firmware runs it")}
	}
	cfg := agent.Config{
		Version: version, Serve: serveVolume, Interface: *iface, Board: *board,
		Disks: func() ([]flash.Disk, error) { return nil, nil },
	}
	if *disk != "" {
		cfg.Disks = func() ([]flash.Disk, error) { return one(*disk) }
	}
	if *server != "" {
		if cfg.Server, err = netip.ParseAddr(*server); err != nil {
			return usageError{fmt.Errorf("--server: %w", err)}
		}
	}
	if *addr != "" {
		if cfg.Addr, err = netip.ParsePrefix(*addr); err != nil {
			return usageError{fmt.Errorf("--addr: %w", err)}
		}
	}
	return agent.Run(ctx, cfg)
}

// one describes a file or block device as the machine's only disk.
func one(path string) ([]flash.Disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // of a device, Stat says 0
	if err != nil {
		return nil, err
	}
	return []flash.Disk{{Name: filepath.Base(path), Path: path, Size: size}}, nil
}
