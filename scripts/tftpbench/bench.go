//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A bench measures groups of cases.
type bench struct {
	rounds   int
	peers    []string
	threads  int    // of the generator
	sleep    bool   // processors that have nothing to do may
	bootlace string // programs
	atftpd   string
	tests    string
	log      io.Writer // progress
	began    time.Time

	rig    *rig
	served atomic.Int32 // servers that were started

	mu      sync.Mutex
	corrupt []string // transfers whose content was wrong
}

// say reports progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "== %.0f s: %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) reportCorrupt(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.corrupt = append(b.corrupt, fmt.Sprintf(format, args...))
}

// A figure is one measurement.
type figure struct {
	rate    float64 // MB/s of whole files
	cpu     float64 // seconds of the server's a GB; of a client program's, its own
	memory  float64 // MB resident at most, of the server
	seconds float64
	failed  int // transfers
	of      int
	note    string
}

// A run is one measurement of a round.
type run struct {
	label string // what is done
	who   string // by whom
	once  bool   // in the first round only: for show, and slow
	do    func(ctx context.Context, b *bench, round int) (figure, error)
}

// A group is a set of runs that are measured in turns. What else the machine
// does meets all of them alike.
type group struct {
	name, title string
	most        int     // rounds: more would tell nothing new; 0: as many as asked for
	steps       [][]run // one after another; those of one step at the same time
	goals       func(r results) []goal
	print       func(r results) // nil: as a table
}

// results are the figures of every run, a round each.
type results map[[2]string][]figure // by label and who

func (b *bench) choosePeers(list string) error {
	if list == "none" {
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(peers, name) {
			return usagef("--peers: there is no %q; there are %s", name, strings.Join(peers, ", "))
		}
		b.peers = append(b.peers, name)
	}
	return nil
}

// wanted reports whether a run is to be done.
func (b *bench) wanted(r run) bool {
	return !slices.Contains(peers, r.who) || slices.Contains(b.peers, r.who)
}

func (b *bench) run(ctx context.Context, groups []*group) (err error) {
	if err := raiseFiles(12_000); err != nil {
		return err
	}
	b.rig, err = newRig()
	defer func() { err = errors.Join(err, b.rig.close()) }()
	if err != nil {
		return fmt.Errorf("set up the rig: %w", err)
	}
	if !b.sleep {
		stop, err := b.keepAwake()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	b.header()
	var goals []goal
	for _, g := range groups {
		r, err := b.measure(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		printResults(g, r)
		if g.goals != nil {
			goals = append(goals, g.goals(r)...)
		}
	}
	printGoals(goals)
	if len(b.corrupt) > 0 {
		return fmt.Errorf("wrong content was transferred: %s", strings.Join(b.corrupt, "; "))
	}
	return nil
}

// measure does all rounds of a group.
func (b *bench) measure(ctx context.Context, g *group) (results, error) {
	r := results{}
	rounds := b.rounds
	if g.most > 0 {
		rounds = min(rounds, g.most)
	}
	for round := range rounds {
		for _, step := range g.steps {
			step = slices.DeleteFunc(slices.Clone(step), func(r run) bool { return !b.wanted(r) || r.once && round > 0 })
			figures, err := b.step(ctx, step, round)
			if err != nil {
				return nil, err
			}
			for i, f := range figures {
				key := [2]string{step[i].label, step[i].who}
				r[key] = append(r[key], f)
				b.say("%s, round %d of %d: %s, %s: %s", g.name, round+1, rounds, key[0], key[1], f)
			}
		}
	}
	return r, nil
}

// step does the runs of a step, at the same time. A virtual machine stands still
// when its host stops it. Such a step measured nothing, and is done again.
func (b *bench) step(ctx context.Context, step []run, round int) ([]figure, error) {
	const tries, still = 3, time.Second
	for try := 1; ; try++ {
		figures, errs := make([]figure, len(step)), make([]error, len(step))
		watch := watchClock()
		var wg sync.WaitGroup
		for i, run := range step {
			wg.Go(func() { figures[i], errs[i] = run.do(ctx, b, round) })
		}
		wg.Wait()
		stood := watch()
		switch {
		case ctx.Err() != nil:
			return nil, errors.New("interrupted")
		case stood < still || try == tries:
			return figures, errors.Join(errs...)
		}
		b.say("the machine stood still for %v: once more", stood.Round(time.Millisecond))
	}
}

// watchClock returns a function that stops watching. That tells by how much a
// short sleep was too long at most.
func watchClock() func() time.Duration {
	const sleep = 50 * time.Millisecond
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		most := time.Duration(0)
		for {
			start := time.Now()
			select {
			case <-stop:
				worst <- most
				return
			case <-time.After(sleep):
				most = max(most, time.Since(start)-sleep)
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-worst
	}
}

func (f figure) String() string {
	if f.seconds == 0 {
		return f.note
	}
	s := fmt.Sprintf("%s MB/s in %.2f s, %s CPU s/GB, %.0f MB", number(f.rate, 3), f.seconds, number(f.cpu, 3), f.memory)
	if f.failed > 0 {
		s += fmt.Sprintf(", %d of %d failed", f.failed, f.of)
	}
	if f.note != "" {
		s += "; " + f.note
	}
	return s
}

// load is a run of the generator against a server.
func load(label, server, file string, flags ...string) run {
	return run{label: label, who: server, do: func(ctx context.Context, b *bench, round int) (figure, error) {
		s, err := b.serve(ctx, server)
		if err != nil {
			return figure{}, err
		}
		defer s.stop()
		before, err := s.cpu()
		if err != nil {
			return figure{}, err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-s.ended:
				cancel() // nobody will answer any more
			case <-ctx.Done():
			}
		}()
		r, err := b.generate(ctx, s, append([]string{"--name", file, "--content", filepath.Join(b.rig.root, file),
			"--threads", fmt.Sprint(b.threads), "--seed", fmt.Sprint(round + 1)}, flags...))
		if err != nil {
			return figure{}, fmt.Errorf("%s, %s: %w", label, server, err)
		}
		after, err := s.cpu()
		if err != nil {
			return figure{}, err
		}
		f := figure{rate: float64(r.Bytes) / 1e6 / r.Seconds, seconds: r.Seconds, cpu: (after - before).Seconds() / float64(r.Bytes) * 1e9,
			memory: float64(s.memory()) / 1e6, of: r.Clients}
		var notes []string
		for why, n := range r.Failed {
			f.failed += n
			notes = append(notes, fmt.Sprintf("%d × %s", n, why))
		}
		slices.Sort(notes)
		if s.died() {
			notes = append([]string{"THE SERVER DIED"}, notes...)
		}
		if len(notes) > 4 {
			notes = append(notes[:4], "…")
		}
		if slices.Contains(flags, "--half-open") {
			f.rate, f.cpu = math.NaN(), math.NaN() // of no meaning here
			notes = append(notes, fmt.Sprintf("%d strangers answered, at most %d packets each", r.Strangers, r.Answers))
		}
		notes = append(notes, fmt.Sprintf("generator %.2f CPU s/GB, %d repeats", r.CPU/float64(r.Bytes)*1e9, r.Repeats))
		f.note = strings.Join(notes, "; ")
		if r.Corrupt > 0 {
			b.reportCorrupt("%s, %s: %s", label, server, f.note)
		}
		return f, nil
	}}
}

// generate runs the load generator, as a process of its own among the clients.
func (b *bench) generate(ctx context.Context, s *serving, flags []string) (result, error) {
	var r result
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	out, err := b.client(ctx, append([]string{self, "load", "--server", s.at.String() + ":69"}, flags...)...)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out.stdout, &r); err != nil {
		return r, fmt.Errorf("the load generator's result: %w", err)
	}
	return r, nil
}

// A command is a program that ended.
type command struct {
	stdout  []byte
	seconds float64
	cpu     float64 // seconds
}

// client runs a program in the clients' namespace.
func (b *bench) client(ctx context.Context, line ...string) (command, error) {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) } // and it tells what it has
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := b.rig.start(b.rig.client, cmd, nil)
	if err == nil {
		err = cmd.Wait()
	}
	c := command{stdout: stdout.Bytes(), seconds: time.Since(start).Seconds()}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return c, fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, said)
	}
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return c, nil
}
