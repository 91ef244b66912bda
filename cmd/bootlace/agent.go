package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent"
	"github.com/bootlace/bootlace/boot/config"
	"github.com/bootlace/bootlace/boot/flash"
	"github.com/bootlace/bootlace/boot/journal"
	"github.com/bootlace/bootlace/boot/link"
)

// outcomes is what a plan's action means on a device. To add one: a line here.
var outcomes = map[boot.Action]agent.Outcome{
	boot.ActionFlash: agent.Flash,
	boot.ActionBoot:  agent.Boot,
	boot.ActionLocal: agent.Local,
	boot.ActionWait:  agent.Wait,
	boot.ActionServe: serveStore,
}

// initMain is the firmware: PID 1 of the device or of the appliance. It comes
// back only when the kernel is about to panic.
func initMain() int {
	return exitStatus(agent.Run(context.Background(), agent.Config{Version: version, Outcomes: outcomes, Init: true}))
}

// runAgent is the device half on an ordinary machine, to try a plan out: it
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
		Version: version, Outcomes: outcomes, Interface: *iface, Board: *board,
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

// serveStore makes the device the appliance of its network, with the files of
// its BOOTLACE store.
func serveStore(ctx context.Context, s *agent.Session, _ *boot.Plan) error {
	if s.Store == "" {
		return errors.New("serve: no disk labelled BOOTLACE with bootlace.yaml, root/ and state/ is there")
	}
	file := filepath.Join(s.Store, "bootlace.yaml")
	root, state := filepath.Join(s.Store, "root"), filepath.Join(s.Store, "state")
	load := func() (*config.Config, error) {
		var flags config.Flags
		flags.SetDefaults(file, root, state, "json")
		return flags.Load()
	}
	cfg, err := load()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(s.Console, &slog.HandlerOptions{Level: journal.LevelProgress}))
	if err := address(ctx, s, cfg); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return serve(ctx, cfg, log, false)
}

// address gives the appliance its address: that of the command line or the
// config on the link that is served, or a lease of the network's own server.
func address(ctx context.Context, s *agent.Session, cfg *config.Config) error {
	addr := s.Addr()
	if !addr.IsValid() {
		addr = cfg.Address
	}
	if !addr.IsValid() {
		l, err := s.Join(ctx)
		if err == nil && len(cfg.Interface) == 0 {
			cfg.Interface = []string{l.Name}
		}
		return err
	}
	name := ""
	if len(cfg.Interface) > 0 {
		name = cfg.Interface[0]
	}
	links, err := link.Carrier(ctx, s.Log, name)
	if err != nil {
		return err
	}
	if len(cfg.Interface) == 0 {
		cfg.Interface = []string{links[0].Name}
	}
	fmt.Fprintf(s.Console, "bootlace: %s has %s\n", links[0].Name, addr)
	return links[0].SetAddr(addr)
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
