//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/link"
)

// serveStore makes the device the appliance of its network, with the files of
// its BOOTLACE store.
func serveStore(ctx context.Context, s *agent.Session, p *boot.Plan) error {
	if p != nil {
		return s.Serve(ctx)
	}
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
	log := slog.New(slog.NewJSONHandler(s.Console, &slog.HandlerOptions{Level: boot.LevelProgress}))
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
