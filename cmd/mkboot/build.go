package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/bootlace/bootlace/board"
)

func boards(_ context.Context, args []string) error {
	if len(args) != 0 {
		return fmt.Errorf("%w: boards takes no arguments", errUsage)
	}
	for _, b := range board.Boards {
		fmt.Fprintf(os.Stdout, "%s  %s\n", b.Name, b.Doc)
	}
	return nil
}

func build(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	_, err := parse(fs, args)
	return err
}

func binary(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("binary", flag.ContinueOnError)
	_, err := parse(fs, args)
	return err
}
