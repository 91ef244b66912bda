package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images/firmware"
)

// compileKernel makes a board's firmware with a kernel of our own.
func compileKernel(ctx context.Context, args []string) error {
	m, err := newMaking("kernel")
	if err != nil {
		return err
	}
	var name string
	m.flags.StringVar(&name, "board", "", "the `BOARD` whose firmware it becomes; without it the one that the kernel is meant for")
	rest, err := m.parse(args)
	if err != nil {
		return err
	}
	var names []string
	var kernel *board.KernelFlavour
	for _, k := range board.KernelFlavours {
		names = append(names, k.Name)
		if len(rest) == 1 && k.Name == rest[0] {
			kernel = k
		}
	}
	switch {
	case kernel == nil:
		return fmt.Errorf("%w: which kernel? one of %s", errUsage, strings.Join(names, ", "))
	case m.opt.Dir == "":
		return fmt.Errorf("%w: -o DIR is missing", errUsage)
	case name == "":
		name = kernel.Board
	}
	b, ok := board.ByName(name)
	if !ok {
		return fmt.Errorf("%w: no board %q; one of %s", errUsage, name, boardNames())
	}
	r, err := firmware.Compile(ctx, kernel, b, m.opt)
	if err != nil {
		return err
	}
	m.made(r, b)
	m.next()
	return nil
}
