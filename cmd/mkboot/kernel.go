package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images/firmware"
)

// compileKernel makes a board's firmware with a kernel of our own.
func compileKernel(ctx context.Context, args []string) error {
	cache, err := firmware.CacheDir()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	packages := &firmware.Packages{Log: log}
	opt := firmware.Options{Packages: packages, Log: log}
	var name string

	fs := flag.NewFlagSet("kernel", flag.ContinueOnError)
	fs.StringVar(&opt.Dir, "o", "", "root `DIR` to serve; the firmware goes to DIR/firmware/BOARD/")
	fs.StringVar(&name, "board", "", "the `BOARD` whose firmware it becomes, without --board the one that it is meant for")
	fs.BoolVar(&opt.Rescue, "rescue", false, "add u-root's shell and tools, which the kernel's word rdinit=/"+firmware.RescueInit+" starts instead of the agent")
	fs.BoolVar(&opt.Serve, "serve", false, "include the serving half: for action serve and for a disk labelled BOOTLACE")
	fs.StringVar(&opt.Source, "source", ".", "`DIR` with Bootlace's source")
	fs.StringVar(&packages.Dir, "cache", cache, "`DIR` where Debian's packages and compiled kernels are kept")
	fs.BoolVar(&packages.Update, "update", false, "take the newest source, not that in the cache")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	var names []string
	var config *board.KernelFlavour
	for _, c := range board.KernelFlavours {
		names = append(names, c.Name)
		if len(rest) == 1 && c.Name == rest[0] {
			config = c
		}
	}
	switch {
	case config == nil:
		return fmt.Errorf("%w: which kernel? one of %s", errUsage, strings.Join(names, ", "))
	case opt.Dir == "":
		return fmt.Errorf("%w: -o DIR is missing", errUsage)
	case name == "":
		name = config.Board
	}
	b, ok := board.ByName(name)
	if !ok {
		return fmt.Errorf("%w: no board %q; one of %s", errUsage, name, boardNames())
	}
	s, err := firmware.Compile(ctx, config, b, opt)
	if err != nil {
		return err
	}
	log.Info("compiled", "kernel", config.Name, "board", b.Name, "dir", s.Dir, "release", s.Release,
		"agent", s.Agent, "cpio", s.Archive, "bytes", s.Kernel)
	return nil
}
