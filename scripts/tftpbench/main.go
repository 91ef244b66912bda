//go:build linux

// Tftpbench measures TFTP servers and clients side by side, and generates the
// load. It makes two network namespaces for that. scripts/bench calls it: it
// builds the program and brings what it compares with. Of our own it uses
// bootlace as a process, and the client of boot/tftp/conformance.
//
//	tftpbench [flags] [CASE…]     the table
//	tftpbench load [flags]        one load against any server; the result is JSON
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	command, args := runTable, os.Args[1:]
	if len(args) > 0 && args[0] == "load" {
		command, args = runLoad, args[1:]
	} else if len(args) > 0 && args[0] == "awake" {
		command, args = runAwake, args[1:]
	}
	switch err := command(ctx, args); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "tftpbench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "tftpbench:", err)
		os.Exit(1)
	}
}

// A usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// runLoad is the generator by itself.
func runLoad(ctx context.Context, args []string) error {
	o := options{}
	set := flag.NewFlagSet("load", flag.ContinueOnError)
	set.TextVar(&o.server, "server", netip.AddrPort{}, "`ADDR:PORT` of the server, IPv4")
	set.StringVar(&o.name, "name", "", "`NAME` of the file to ask for")
	content := set.String("content", "", "`FILE` that holds what it must be")
	set.IntVar(&o.clients, "clients", 1, "clients at once, a socket each")
	set.IntVar(&o.threads, "threads", 1, "threads that serve them")
	set.IntVar(&o.blksize, "blksize", 1428, "to ask for, bytes")
	set.IntVar(&o.windowsize, "windowsize", 1, "to ask for, blocks")
	set.Float64Var(&o.loss, "loss", 0, "share of packets lost each way, 0.01 is 1 %")
	set.DurationVar(&o.delay, "delay", 0, "by which every ACK is late")
	set.DurationVar(&o.timeout, "timeout", time.Second, "after which a client repeats its last packet")
	set.IntVar(&o.tries, "tries", 10, "timeouts in a row until a client gives up")
	set.DurationVar(&o.patience, "patience", 2*time.Minute, "until all give up")
	set.DurationVar(&o.spread, "spread", 0, "time over which the clients begin, one after another")
	set.Uint64Var(&o.seed, "seed", 1, "of the losses")
	set.IntVar(&o.halfOpen, "half-open", 0, "strangers who send a request and never answer, while single clients get the file")
	set.TextVar(&o.from, "from", netip.Prefix{}, "`PREFIX` of the strangers' addresses (default: the clients' one)")
	set.DurationVar(&o.over, "over", 2*time.Second, "time in which the strangers come")
	operands, err := parseFlags(set, args)
	if err != nil {
		return err
	}
	switch {
	case len(operands) > 0:
		return usagef("load: %q is no flag", operands[0])
	case !o.server.Addr().Is4() || o.server.Port() == 0:
		return usagef("load: --server wants an IPv4 address and port")
	case o.name == "" || *content == "":
		return usagef("load: --name and --content are needed")
	case o.blksize < 8 || o.blksize > 65464 || o.windowsize < 1 || o.windowsize > 65535:
		return usagef("load: blksize 8 to 65464, windowsize 1 to 65535")
	case o.clients < 1 || o.threads < 1 || o.loss < 0 || o.loss >= 1:
		return usagef("load: --clients and --threads from 1, --loss below 1")
	}
	if o.want, err = mapFile(*content); err != nil {
		return err
	}
	if err := raiseFiles(uint64(o.clients + o.halfOpen + 100)); err != nil {
		return err
	}
	r, err := generate(ctx, &o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// mapFile maps a whole file, so that reading it costs no copy.
func mapFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	p, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return p, nil
}

// runTable measures the cases and prints the table.
func runTable(ctx context.Context, args []string) error {
	b := &bench{log: os.Stderr, began: time.Now()}
	set := flag.NewFlagSet("tftp", flag.ContinueOnError)
	set.IntVar(&b.rounds, "rounds", 5, "of every measurement; medians are shown")
	peers := set.String("peers", strings.Join(peers, ","), "`SERVERS` to compare with; none for no one")
	set.IntVar(&b.threads, "threads", 1, "of the load generator with many clients")
	set.BoolVar(&b.sleep, "sleep", false, "let processors sleep when they have nothing to do: what it takes to wake them is measured too")
	list := set.Bool("list", false, "list the chosen cases, and do no more")
	set.StringVar(&b.bootlace, "bootlace", "bootlace", "our `PROGRAM` (scripts/bench builds it)")
	set.StringVar(&b.atftpd, "atftpd", "atftpd", "atftpd's `PROGRAM` (scripts/bench fetches it)")
	set.StringVar(&b.tests, "tests", "", "`PROGRAM` made of boot/tftp's tests, for the case allocs (scripts/bench builds it)")
	set.Usage = func() {
		fmt.Fprint(set.Output(), "usage: scripts/bench tftp [flags] [CASE…]\n\nCases:\n")
		printGroups(set.Output(), groups())
		fmt.Fprint(set.Output(), "\nFlags:\n")
		set.PrintDefaults()
	}
	names, err := parseFlags(set, args)
	if err != nil {
		return err
	}
	if b.rounds < 1 || b.threads < 1 {
		return usagef("--rounds and --threads count from 1")
	}
	if err := b.choosePeers(*peers); err != nil {
		return err
	}
	chosen, err := chooseGroups(names)
	if err != nil {
		return err
	}
	if *list {
		printGroups(os.Stdout, chosen)
		return nil
	}
	return b.run(ctx, chosen)
}

// parseFlags takes flags before and after operands, which it returns.
func parseFlags(set *flag.FlagSet, args []string) (operands []string, err error) {
	set.SetOutput(os.Stderr)
	for {
		switch err := set.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case err != nil:
			return nil, usageError{err}
		case set.NArg() == 0:
			return operands, nil
		}
		operands, args = append(operands, set.Arg(0)), set.Args()[1:]
	}
}

func printGroups(w io.Writer, groups []*group) {
	for _, g := range groups {
		fmt.Fprintf(w, "  %-9s %s\n", g.name, g.title)
	}
}

func chooseGroups(names []string) ([]*group, error) {
	all := groups()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []*group
next:
	for _, name := range names {
		for _, g := range all {
			if g.name == name {
				chosen = append(chosen, g)
				continue next
			}
		}
		var known []string
		for _, g := range all {
			known = append(known, g.name)
		}
		return nil, usagef("there is no case %q; there are %s", name, strings.Join(known, ", "))
	}
	return chosen, nil
}
