// Bootlace boots and flashes diskless hardware over a LAN. This one binary is
// the appliance that serves and the firmware that runs on the device.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "unknown"

// commands is what the binary can do, in the order its help shows.
var commands = []struct {
	name, doc string
	run       func(ctx context.Context, args []string) error
}{
	{"serve", "be the appliance: DHCP, TFTP, FTP and HTTP over one folder", runServe},
	{"devices", "list a running appliance's machines; devices flash|local MAC", runDevices},
	{"why", "tell what happened to a machine: why MAC", runWhy},
	{"image", "image add|ls|verify FILE: manifests of images", runImage},
	{"flash", "write an image to a disk of this machine: flash IMAGE DISK", runFlash},
	{"get", "fetch a file: get URL [-o FILE]", runGet},
	{"put", "send a file: put FILE URL", runPut},
	{"ls", "list a folder: ls URL", runLs},
	{"agent", "be the device: find the appliance and do what its plan says", runAgent},
	{"version", "print the version", runVersion},
}

// A usageError is a mistake of the person who typed the command or wrote the
// config. The exit status is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	if os.Getpid() == 1 {
		os.Exit(initMain())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitStatus(run(ctx, os.Args[1:])))
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		usage()
		return usageError{errors.New("no command")}
	}
	switch args[0] {
	case "help", "-h", "--help":
		usage()
		return nil
	case "-version", "--version": // as other programs have it
		return runVersion(ctx, args[1:])
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	return usageError{fmt.Errorf("%q is no command; `%s help` lists them", args[0], filepath.Base(os.Args[0]))}
}

func usage() {
	fmt.Fprintf(os.Stderr, "Bootlace %s boots and flashes diskless hardware over a LAN.\n\n", version)
	for _, c := range commands {
		fmt.Fprintf(os.Stderr, "  bootlace %-8s %s\n", c.name, c.doc)
	}
	fmt.Fprintln(os.Stderr, "\n`bootlace COMMAND -h` lists a command's flags.")
}

// exitStatus prints err and says how the process ends: 0 or 1. It is 2 for what
// the user can mend in the command or the config.
func exitStatus(err error) int {
	var mistake usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &mistake):
		fmt.Fprintln(os.Stderr, "bootlace:", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "bootlace:", err)
	return 1
}

func runVersion(context.Context, []string) error {
	fmt.Println("bootlace", version)
	return nil
}

// parse reads a command's flags and returns its operands. Flags may stand
// before, between and after them.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	var operands []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return operands, nil
		}
		operands = append(operands, rest[0])
		args = rest[1:]
	}
}

// newFlags returns a flag set whose mistakes come back as errors.
func newFlags(name, operands string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(os.Stderr)
	fs.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: bootlace %s %s\n", name, operands)
		fs.PrintDefaults()
	}
	return fs
}

// newLog is the one logger: lines for a person on a terminal, JSON elsewhere
// or where asked for.
func newLog(format string, level slog.Leveler) (*slog.Logger, error) {
	opt := &slog.HandlerOptions{Level: level}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opt)), nil
	}
	return nil, usageError{fmt.Errorf("--log: %q is not one of text, json", format)}
}
