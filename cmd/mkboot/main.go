// Command mkboot runs on a build machine. It makes the firmware that
// cmd/bootlace serves and that machines run, and it boots boards in QEMU.
//
// It wires images/firmware and board/lab together. It never serves anything
// itself: the appliances of `run` and `demo` are virtual machines too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// A command is a word that may follow mkboot. run gets the arguments behind it.
type command struct {
	name string
	args string // as in a usage line
	doc  string
	run  func(ctx context.Context, args []string) error
}

// commands is a function, since commands refer to it for their usage.
func commands() []command {
	return []command{
		{"build", "BOARD...|all -o DIR", "make firmware under DIR/firmware/BOARD/", build},
		{"kernel", "NAME -o DIR", "compile a small kernel with the firmware inside, under DIR/firmware/BOARD/", compileKernel},
		{"boards", "", "list the boards, one a line", boards},
		{"binary", "-o FILE [-arch ARCH]", "build cmd/bootlace alone, static and without HTTP/2", binary},
		{"run", "BOARD [--firmware uefi|…]", "boot a board in QEMU against an appliance of its own", runBoard},
		{"demo", "--image FILE --root DIR [--uefi]", "flash a blank machine, both in QEMU", demo},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

// run returns the exit status: 2 for a wrong command line, 1 for work that failed.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:])
		if err == nil || errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(stderr, "mkboot %s: %v\n", c.name, err)
		if errors.Is(err, errUsage) {
			return 2
		}
		return 1
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(stderr)
		return 0
	}
	fmt.Fprintf(stderr, "mkboot: unknown command %q\n", args[0])
	usage(stderr)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: mkboot COMMAND [ARGUMENT]...")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, strings.TrimPrefix(c.args+": "+c.doc, ": "))
	}
}

// commandUsage prints what one command takes.
func commandUsage(w io.Writer, fs *flag.FlagSet) {
	for _, c := range commands() {
		if c.name == fs.Name() {
			fmt.Fprintf(w, "usage: mkboot %s %s\n%s\n", c.name, c.args, c.doc)
		}
	}
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// errUsage marks errors of the command line, which exit with 2.
var errUsage = errors.New("wrong usage")

// newFlags returns a flag set for a command.
func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

// parse reads flags, which may stand before, between and behind the other
// arguments. It returns the others.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard) // run prints the error
	var rest []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			commandUsage(os.Stderr, fs)
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}
