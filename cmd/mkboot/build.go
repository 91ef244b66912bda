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

func boards(_ context.Context, args []string) error {
	if len(args) != 0 {
		return fmt.Errorf("%w: boards takes no arguments", errUsage)
	}
	for _, b := range board.Boards {
		fmt.Printf("%-16s %s\n", b.Name, b.Doc)
	}
	return nil
}

func build(ctx context.Context, args []string) error {
	cache, err := firmware.CacheDir()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	packages := &firmware.Packages{Log: log}
	opt := firmware.Options{Packages: packages, Log: log}

	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	fs.StringVar(&opt.Dir, "o", "", "root `DIR` to serve; firmware goes to DIR/firmware/BOARD/")
	fs.BoolVar(&opt.Rescue, "rescue", false, "add u-root's shell and tools, which the kernel's word rdinit=/"+firmware.RescueInit+" starts instead of the agent")
	fs.BoolVar(&opt.Serve, "serve", false, "include the serving half: for action serve and for a disk labelled BOOTLACE")
	fs.BoolVar(&opt.Fast, "fast", false, "compress less, to try things out")
	fs.StringVar(&opt.Kernel, "kernel", "", "kernel image `FILE` instead of Debian's")
	fs.StringVar(&opt.Modules, "modules", "", "`DIR` with the modules of --kernel; without it no modules are loaded")
	fs.StringVar(&opt.PiFirmware, "pi-firmware", "", "`DIR` with a Raspberry Pi's bootcode.bin, start*.elf and fixup*.dat: usr/lib/raspi-firmware of Debian's raspi-firmware, in non-free-firmware")
	fs.StringVar(&opt.Source, "source", ".", "`DIR` with Bootlace's source")
	fs.StringVar(&packages.Dir, "cache", cache, "`DIR` where Debian's packages are kept")
	fs.BoolVar(&packages.Update, "update", false, "take the newest packages, not those in the cache")
	names, err := parse(fs, args)
	if err != nil {
		return err
	}
	switch {
	case len(names) == 0:
		return fmt.Errorf("%w: which board? all, or one of %s", errUsage, boardNames())
	case opt.Dir == "":
		return fmt.Errorf("%w: -o DIR is missing", errUsage)
	case opt.Modules != "" && opt.Kernel == "":
		return fmt.Errorf("%w: --modules are those of a --kernel", errUsage)
	case opt.Kernel != "" && (len(names) > 1 || names[0] == "all"):
		return fmt.Errorf("%w: --kernel is for one board", errUsage)
	}
	wanted, err := boardsOf(names)
	if err != nil {
		return err
	}
	builder := firmware.NewBuilder(opt)
	defer builder.Close()
	for _, b := range wanted {
		s, err := builder.Build(ctx, b)
		if err != nil {
			return err
		}
		log.Info("built", "board", b.Name, "dir", s.Dir, "kernel", s.Release, "agent", s.Agent,
			"modules", s.Modules, "cpio", s.Archive, "initramfs", s.Initramfs, "uki", s.UKI)
	}
	return nil
}

func binary(ctx context.Context, args []string) error {
	var output, arch, source, version string
	fs := flag.NewFlagSet("binary", flag.ContinueOnError)
	fs.StringVar(&output, "o", "", "output `FILE`")
	fs.StringVar(&arch, "arch", "amd64", "`GOARCH`: amd64, arm64, arm (v7) or another of Go's")
	fs.StringVar(&source, "source", ".", "`DIR` with Bootlace's source")
	fs.StringVar(&version, "version", "", "what the binary calls itself instead of git's description")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 0 || output == "" {
		return fmt.Errorf("%w: -o FILE and flags, nothing else", errUsage)
	}
	src, err := firmware.OpenSource(ctx, source)
	if err != nil {
		return err
	}
	defer src.Close()
	if version != "" {
		src.Version = version
	}
	return src.GoBuild(ctx, firmware.AgentPackage, arch, output)
}

// boardsOf returns the boards named; all are those that firmware can be made for.
func boardsOf(names []string) ([]*board.Board, error) {
	var wanted []*board.Board
	for _, name := range names {
		b, ok := board.ByName(name)
		switch {
		case name == "all":
			for _, b := range board.Boards {
				if b.Unbuilt == "" {
					wanted = append(wanted, b)
				}
			}
		case ok:
			wanted = append(wanted, b)
		default:
			return nil, fmt.Errorf("%w: no board %q; all, or one of %s", errUsage, name, boardNames())
		}
	}
	return wanted, nil
}

func boardNames() string {
	var names []string
	for _, b := range board.Boards {
		names = append(names, b.Name)
	}
	return strings.Join(names, ", ")
}
