//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/link"
)

// serveVolume makes the device the appliance of its network. It serves the files
// of the volume labelled BOOTLACE.
func serveVolume(ctx context.Context, s *agent.Session) error {
	if s.Volume == "" {
		return errors.New("serve: no disk labelled " + board.VolumeLabel + " with " + board.VolumeConfig + ", root/ and state/ is there")
	}
	file := filepath.Join(s.Volume, board.VolumeConfig)
	root, state := filepath.Join(s.Volume, "root"), filepath.Join(s.Volume, "state")
	load := func() (*config.Config, error) {
		var flags config.Flags
		flags.SetDefaults(file, root, state, "json")
		return flags.Load()
	}
	cfg, err := load()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(s.Console, &slog.HandlerOptions{Level: boot.LevelProgress}))
	if err := address(ctx, s, cfg); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return serve(ctx, cfg, log, false)
}

// address gives the appliance its address. Command line or config say which, on
// the link that is served. Otherwise it is a lease of the network's own server.
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
