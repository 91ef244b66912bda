//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Client programs, as names of whom a run is by. They are measured as whole
// processes. The start of the program counts, and the file that it writes to a
// tmpfs.
const (
	get   = "bootlace get"
	atftp = "atftp"
	curl  = "curl"
)

// fetch is a run of a client program against a server.
func fetch(label, who, server, file string, line func(b *bench, host, out string) []string) run {
	return run{label: label, who: who, do: func(ctx context.Context, b *bench, _ int) (figure, error) {
		s, err := b.serve(ctx, server)
		if err != nil {
			return figure{}, err
		}
		defer s.stop()
		out := filepath.Join(b.rig.dir, "out", "file")
		defer os.Remove(out)
		c, err := b.client(ctx, line(b, s.at.String(), out)...)
		f := figure{seconds: c.seconds, of: 1, memory: float64(s.memory()) / 1e6}
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			f.failed, f.note = 1, err.Error()
			return f, nil
		}
		if err != nil {
			return f, err
		}
		want, err := os.ReadFile(filepath.Join(b.rig.root, file))
		if err != nil {
			return f, err
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			f.failed, f.note = 1, fmt.Sprintf("wrote %d of %d bytes, or others", len(got), len(want))
			b.reportCorrupt("%s, %s: %s", label, who, f.note)
			return f, nil
		}
		f.rate, f.cpu = float64(len(want))/1e6/c.seconds, c.cpu/float64(len(want))*1e9
		return f, nil
	}}
}

func getLine(flags ...string) func(b *bench, host, out string) []string {
	return func(b *bench, host, out string) []string {
		return append(append([]string{b.bootlace, "get"}, flags...), "-o", out, "tftp://"+host+"/256M")
	}
}

func atftpLine(options ...string) func(b *bench, host, out string) []string {
	return func(_ *bench, host, out string) []string {
		line := []string{"atftp"}
		for _, o := range options {
			line = append(line, "--option", o)
		}
		return append(line, "--get", "-r", "256M", "-l", out, host, "69")
	}
}

func curlLine(scheme string, flags ...string) func(b *bench, host, out string) []string {
	return func(_ *bench, host, out string) []string {
		return append(append([]string{"curl", "-sS"}, flags...), "-o", out, scheme+"://"+host+"/256M")
	}
}

// allocations runs a Go benchmark of boot/tftp. Its figure's rate is allocations
// a block. Where there is no such benchmark it has failed.
func allocations(who, benchmark string) run {
	return run{label: "allocations a block", who: who, do: func(ctx context.Context, b *bench, _ int) (figure, error) {
		if b.tests == "" {
			return figure{}, errors.New("allocations are counted by boot/tftp's own benchmarks: --tests names the program")
		}
		cmd := exec.CommandContext(ctx, b.tests, "-test.run=^$", "-test.bench=^"+benchmark+"$", "-test.benchmem")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return figure{}, fmt.Errorf("%s: %w: %s", benchmark, err, out)
		}
		return parseBenchmark(benchmark, string(out))
	}}
}

var allocsPerOp = regexp.MustCompile(`(\d+) allocs/op`)

// parseBenchmark reads what `go test -bench` prints. Of several sub-benchmarks
// the worst counts.
func parseBenchmark(name, out string) (figure, error) {
	f := figure{of: 1, failed: 1, note: "there is no " + name}
	for line := range strings.Lines(out) {
		m := allocsPerOp.FindStringSubmatch(line)
		if !strings.HasPrefix(line, name) || m == nil {
			continue
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return f, err
		}
		if f.failed != 0 || n >= f.rate {
			f = figure{of: 1, rate: n, note: strings.Join(strings.Fields(line), " ")}
		}
	}
	return f, nil
}
