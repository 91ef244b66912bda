//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/nettest"
)

func TestRatiosAreThoseOfRounds(t *testing.T) {
	r := results{}
	a, b := [2]string{"x", "a"}, [2]string{"x", "b"}
	for _, pair := range [][2]float64{{10, 5}, {90, 30}, {4, 4}, {8, 2}, {100, 20}, {7, math.NaN()}} {
		r[a] = append(r[a], figure{rate: pair[0], of: 1})
		r[b] = append(r[b], figure{rate: pair[1], of: 2, failed: 1})
	}
	if x := r.ratio(rate, a, b); x != 3 {
		t.Errorf("ratio %v, want 3", x)
	}
	if who := r.best("x", "b", "a", "c"); who != "a" {
		t.Errorf("best is %q", who)
	}
	unmeasured := [2]string{"x", "c"}
	for _, c := range []struct {
		name    string
		g       goal
		reached bool
	}{
		{"at least, just", r.atLeast("", 3, a, b, ""), true},
		{"at least, missed", r.atLeast("", 3.1, a, b, ""), false},
		{"at least, not measured", r.atLeast("", 0.1, a, unmeasured, ""), false},
		{"at most, just", r.atMost("", rate, 100, "", a), true},
		{"at most, missed", r.atMost("", rate, 99, "", a), false},
		{"none failed", r.none("", a), true},
		{"some failed", r.none("", b), false},
		{"none of none", r.none("", unmeasured), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.g.reached != c.reached {
				t.Errorf("%+v, want reached %v", c.g, c.reached)
			}
		})
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 1234.5: "1234", 99.96: "100.0", 12.34: "12.3", 0.01234: "0.0123", math.NaN(): "–"} {
		t.Run(want, func(t *testing.T) {
			if got := number(x, 3); got != want {
				t.Errorf("%v: %q, want %q", x, got, want)
			}
		})
	}
}

func TestParseBenchmark(t *testing.T) {
	const out = `goos: linux
BenchmarkServerBlock/lockstep-2         	 1000000	      1150 ns/op	1241.74 MB/s	       0 B/op	       0 allocs/op
BenchmarkServerBlock/window-2           	 1000000	       950 ns/op	1241.74 MB/s	       9 B/op	       2 allocs/op
BenchmarkServerBlock/other-2            	 1000000	       950 ns/op	1241.74 MB/s	       9 B/op	       1 allocs/op
PASS
`
	if f, err := parseBenchmark("BenchmarkServerBlock", out); err != nil || f.rate != 2 || f.failed != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := parseBenchmark("BenchmarkClientBlock", out); err != nil || f.failed != 1 {
		t.Errorf("%+v, %v: nothing was measured", f, err)
	}
}

// What children of a server cost is counted, and they end with it.
func TestMeter(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	if err := mountCgroups(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	m, err := newMeter(filepath.Join(dir, fmt.Sprintf("%s%d", prefix, os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) & sleep 60 & wait")
	if err := new(rig).start("", cmd, m.fd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	m.watch()
	used := time.Duration(0)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if used, err = m.cpu(); err != nil || used > 50*time.Millisecond {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || used < 50*time.Millisecond {
		t.Errorf("%v of CPU time, %v", used, err)
	}
	if n := len(m.pids()); n < 2 {
		t.Errorf("%d processes, want 2 or 3", n)
	}
	if kb := m.memory() >> 10; kb < 100 || kb > 100_000 {
		t.Errorf("%d KB", kb)
	}
	m.close()
	<-ended
	if _, err := os.Stat(m.dir); !os.IsNotExist(err) || len(m.pids()) > 0 {
		t.Errorf("the cgroup is left, with %d processes: %v", len(m.pids()), err)
	}
}
