package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/flash"
)

// The agent runs as a process of its own in a namespace, as its sockets are
// opened by many goroutines. The process is this test binary again.
const childEnv = "BOOTLACE_AGENT_TEST"

// A child is how one is to run.
type child struct {
	Boot   string
	Disk   string // path of the file that stands for the disk, "" for none
	Server netip.Addr
	Addr   netip.Prefix
	Say    time.Duration // Timing.Say, 0: quick's
	Post   time.Duration // Timing.Post, 0: quick's
	Lost   time.Duration // Timing.Lost, 0: quick's
}

const diskSerial = "LAB-1"

func TestMain(m *testing.M) {
	raw := os.Getenv(childEnv)
	if raw == "" {
		os.Exit(m.Run())
	}
	var c child
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := Config{
		Version: "1.2.3-test", Board: "testboard", Interface: "eth0", Console: os.Stdout, Server: c.Server, Addr: c.Addr,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Timing: quick,
		Disks: func() ([]flash.Disk, error) {
			st, err := os.Stat(c.Disk)
			if err != nil {
				return nil, nil
			}
			return []flash.Disk{{Name: "vda", Path: c.Disk, Serial: diskSerial, Size: st.Size()}}, nil
		},
	}
	if c.Say > 0 {
		cfg.Timing.Say = c.Say
	}
	if c.Post > 0 {
		cfg.Timing.Post = c.Post
	}
	if c.Lost > 0 {
		cfg.Timing.Lost = c.Lost
	}
	s := newSession(cfg)
	s.outcomes = maps.Clone(outcomes)
	s.outcomes[boot.ActionServe] = func(context.Context, *Session, *boot.Plan) error { panic("at the disco") }
	s.Boot, s.Reporter.boot = c.Boot, c.Boot
	if err := s.run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hangGuard ends a test that waits for what never comes. Nothing that a busy
// machine does late may take as long.
const hangGuard = 2 * time.Minute

// quick is DefaultTiming for those who cannot wait. What gives up on somebody
// else stays long: on a busy machine everybody is silent for a while.
var quick = Timing{
	Settle: 100 * time.Millisecond, Discover: 300 * time.Millisecond, DiscoverMax: time.Second, Collect: 500 * time.Millisecond,
	Request: time.Second, Requests: 3, RenewMin: 300 * time.Millisecond, Say: time.Second,
	Plan: 100 * time.Millisecond, PlanMax: 300 * time.Millisecond, Lost: hangGuard, Poll: 300 * time.Millisecond,
	Post: hangGuard, Report: 100 * time.Millisecond, ReportMax: 300 * time.Millisecond, Progress: time.Second, Farewell: hangGuard,
	Retry: 200 * time.Millisecond, RetryMax: 400 * time.Millisecond, Pause: 300 * time.Millisecond,
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{}
}

func (l *lines) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.WriteString(s + "\n")
	if l.new != nil {
		close(l.new)
		l.new = nil
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wait returns what was said up to now and is closed with the next line.
func (l *lines) wait() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.new == nil {
		l.new = make(chan struct{})
	}
	return l.buf.String(), l.new
}

// An agentProcess is a running agent.
type agentProcess struct {
	l       *lab
	cmd     *exec.Cmd
	console lines
	log     bytes.Buffer
	ended   chan error
}

func (l *lab) agent(c child) *agentProcess {
	l.t.Helper()
	c.Boot = l.boot
	if c.Disk == "" {
		c.Disk = l.disk
	}
	raw, err := json.Marshal(c)
	if err != nil {
		l.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	a := &agentProcess{l: l, cmd: l.dev.Command(l.t, self), ended: make(chan error, 1)}
	a.cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	a.cmd.Stderr = &a.log
	if err := a.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			a.console.add(in.Text())
		}
		a.ended <- a.cmd.Wait()
		close(a.ended)
	}()
	l.t.Cleanup(func() {
		a.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-a.ended:
		case <-time.After(hangGuard):
			l.t.Error("the agent does not end on SIGTERM")
			a.cmd.Process.Kill()
			<-a.ended
		}
		if l.t.Failed() {
			l.t.Logf("console:\n%s\nlog:\n%s", tail(a.console.String()), tail(a.log.String()))
		}
	})
	return a
}

// says waits until the console holds all words.
func (a *agentProcess) says(words ...string) {
	a.l.t.Helper()
	deadline := time.After(hangGuard)
	for {
		text, more := a.console.wait()
		if holds(text, words) {
			return
		}
		select {
		case <-more:
		case <-deadline:
			a.l.t.Fatalf("the console does not say %q", words)
		}
	}
}

// end waits until the agent would have left the machine.
func (a *agentProcess) end() {
	a.l.t.Helper()
	select {
	case err := <-a.ended:
		if err != nil {
			a.l.t.Errorf("agent: %v", err)
		}
	case <-time.After(hangGuard):
		a.l.t.Fatal("the agent does not end")
	}
}
