//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/bootlace/bootlace/boot/appliance"
	"github.com/bootlace/bootlace/boot/appliance/config"
)

func runServe(ctx context.Context, args []string) error {
	var flags config.Flags
	set := newFlags("serve", "--root DIR [flags]")
	flags.Register(set)
	debug := set.Bool("debug", false, "log every step")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usageError{fmt.Errorf("serve: %q is no flag; the folder to serve is --root %s", operands[0], operands[0])}
	}
	cfg, err := flags.Load()
	if err != nil {
		return usageError{err}
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log, err := newLog(cfg.Log, level)
	if err != nil {
		return err
	}
	return serve(ctx, cfg, log, flags.Check())
}

// serve runs the appliance until ctx ends. With check it only looks whether
// it could.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, check bool) error {
	if check {
		if err := appliance.Check(ctx, cfg, log); err != nil {
			return mistake(err)
		}
		fmt.Println("the configuration is right")
		return nil
	}
	a, err := appliance.New(ctx, cfg, log)
	if err != nil {
		return mistake(err)
	}
	defer a.Close()
	return mistake(a.Run(ctx))
}

// mistake gives errors that the user can mend their exit status.
func mistake(err error) error {
	var m appliance.Mistake
	if errors.As(err, &m) {
		return usageError{err}
	}
	return err
}
