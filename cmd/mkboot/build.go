package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images/firmware"
)

// boards lists the boards.
func boards(_ context.Context, args []string) error {
	if len(args) != 0 {
		return fmt.Errorf("%w: boards takes no arguments", errUsage)
	}
	for _, b := range board.Boards {
		fmt.Printf("%-16s %s\n", b.Name, b.Doc)
	}
	return nil
}

// build makes the firmware of boards.
func build(ctx context.Context, args []string) error {
	m, err := newMaking("build")
	if err != nil {
		return err
	}
	opt := &m.opt
	m.flags.BoolVar(&opt.Fast, "fast", false, "compress less, to try things out")
	m.flags.StringVar(&opt.Kernel, "kernel", "", "kernel image `FILE` instead of Debian's")
	m.flags.StringVar(&opt.Modules, "modules", "", "`DIR` with the modules of --kernel; without it no modules are loaded")
	m.flags.StringVar(&opt.PiFirmware, "pi-firmware", "", "`DIR` with a Raspberry Pi's bootcode.bin, start*.elf and fixup*.dat: usr/lib/raspi-firmware of Debian's raspi-firmware, in non-free-firmware")
	names, err := m.parse(args)
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
	if err := m.build(ctx, wanted); err != nil {
		return err
	}
	m.next()
	return nil
}

// build makes the firmware of boards, after it has checked that it can.
func (m *making) build(ctx context.Context, boards []*board.Board) error {
	builder := firmware.NewBuilder(m.opt)
	defer builder.Close()
	if err := builder.Check(boards...); err != nil {
		return err
	}
	for _, b := range boards {
		r, err := builder.Build(ctx, b)
		if err != nil {
			return err
		}
		m.made(r, b)
	}
	return nil
}

// buildFor makes firmware as a part of another command.
func buildFor(ctx context.Context, dir string, serve bool, b *board.Board) error {
	m, err := newMaking("build")
	if err != nil {
		return err
	}
	m.opt.Dir, m.opt.Serve = dir, serve
	return m.build(ctx, []*board.Board{b})
}

// binary builds cmd/bootlace alone: both halves, without HTTP/2 as in firmware.
func binary(ctx context.Context, args []string) error {
	var output, arch, source, version string
	fs := newFlags("binary")
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
	return src.GoBuild(ctx, firmware.AgentPackage, arch, output, "-tags", firmware.NoHTTP2)
}

// boardsOf returns the named boards. "all" are those that firmware can be made
// for.
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

// boardNames lists what may stand for BOARD.
func boardNames() string {
	var names []string
	for _, b := range board.Boards {
		names = append(names, b.Name)
	}
	return strings.Join(names, ", ")
}
