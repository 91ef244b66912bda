//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A goal is what a case is to reach.
type goal struct {
	name    string
	want    string
	value   string // "" where it was not measured
	reached bool
}

// median of what of returns, of the rounds.
func median(figures []figure, of func(figure) float64) float64 {
	var v []float64
	for _, f := range figures {
		if x := of(f); !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	return middle(v)
}

func middle(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func rate(f figure) float64    { return f.rate }
func cpu(f figure) float64     { return f.cpu }
func memory(f figure) float64  { return f.memory }
func seconds(f figure) float64 { return f.seconds }

// best is the one with the highest median rate among those that were measured.
func (r results) best(label string, who ...string) string {
	name, top := "", math.Inf(-1)
	for _, w := range who {
		if m := median(r[[2]string{label, w}], rate); m > top {
			name, top = w, m
		}
	}
	return name
}

// ratio is the median of the ratios of the rounds.
func (r results) ratio(of func(figure) float64, a, b [2]string) float64 {
	var v []float64
	for i := range min(len(r[a]), len(r[b])) {
		x := of(r[a][i]) / of(r[b][i])
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	return middle(v)
}

// atLeast is a goal that a's rate is a multiple of b's.
func (r results) atLeast(name string, factor float64, a, b [2]string, than string) goal {
	g := goal{name: name, want: fmt.Sprintf("≥ %g × %s", factor, than)}
	if x := r.ratio(rate, a, b); !math.IsNaN(x) {
		g.value, g.reached = fmt.Sprintf("%.2f × %s", x, b[1]), x >= factor
	}
	return g
}

// cheaper is a goal that a's CPU time is a part of b's at most.
func (r results) cheaper(name string, factor float64, a, b [2]string) goal {
	g := goal{name: name, want: fmt.Sprintf("≤ %g × %s's CPU s/GB", factor, b[1])}
	if x := r.ratio(cpu, a, b); !math.IsNaN(x) {
		g.value, g.reached = fmt.Sprintf("%.2f × %s", x, b[1]), x <= factor
	}
	return g
}

// atMost is a goal for the worst of all rounds.
func (r results) atMost(name string, of func(figure) float64, most float64, unit string, a [2]string) goal {
	g := goal{name: name, want: fmt.Sprintf("≤ %g %s", most, unit)}
	if len(r[a]) > 0 {
		worst := 0.0
		for _, f := range r[a] {
			worst = max(worst, of(f))
		}
		g.value, g.reached = fmt.Sprintf("%.3g %s", worst, unit), worst <= most
	}
	return g
}

// none is a goal that no transfer fails.
func (r results) none(name string, a [2]string) goal {
	g := goal{name: name, want: "none fails"}
	failed, of := 0, 0
	for _, f := range r[a] {
		failed += f.failed
		of += f.of
	}
	if of > 0 {
		g.value, g.reached = fmt.Sprintf("%d of %d", failed, of), failed == 0
	}
	return g
}

// header says what was measured, and on what.
func (b *bench) header() {
	var u unix.Utsname
	unix.Uname(&u)
	cores := "kept awake"
	if b.sleep {
		cores = "free to sleep"
	}
	fmt.Printf("# TFTP, side by side\n\nLinux %s, %d cores, %s, %s; veth pair of two namespaces, MTU 1500, blksize 1428, every byte compared.\n",
		unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), cores, runtime.GOARCH)
	var versions []string
	for _, p := range []string{"tftpd-hpa", "atftp", "dnsmasq-base", "curl", "vsftpd"} {
		if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", p).Output(); err == nil {
			versions = append(versions, p+" "+string(out))
		}
	}
	fmt.Printf("Medians of rounds in turns; compare ratios, not machines. MB are 10⁶ bytes. %s. Load average before: %s.\n", strings.Join(versions, ", "), loadAverage())
}

// loadAverage tells how much else the machine does: above its cores, even
// ratios are rough.
func loadAverage() string {
	avg, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(avg), " ")
	return first
}

func printResults(g *group, r results) {
	fmt.Printf("\n## %s: %s\n\n", g.name, g.title)
	if g.print != nil {
		g.print(r)
		return
	}
	fmt.Print("| what | who | MB/s | s | CPU s/GB | peak MB | failed |\n|---|---|---|---|---|---|---|\n")
	for _, step := range g.steps {
		for _, run := range step {
			figures := r[[2]string{run.label, run.who}]
			if len(figures) == 0 {
				continue
			}
			failed, of := 0, 0
			for _, f := range figures {
				failed += f.failed
				of += f.of
			}
			fmt.Printf("| %s | %s | %s | %s | %s | %s | %d of %d |\n", run.label, run.who, number(median(figures, rate), 3), number(median(figures, seconds), 2),
				number(median(figures, cpu), 2), number(median(figures, memory), 2), failed, of)
		}
	}
	os.Stdout.Sync()
}

// number has a number of significant digits.
func number(x float64, digits int) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	if x == 0 {
		return "0"
	}
	return fmt.Sprintf("%.*f", max(digits-1-int(math.Floor(math.Log10(math.Abs(x)))), 0), x)
}

func printGoals(goals []goal) {
	if len(goals) == 0 {
		return
	}
	fmt.Print("\n## Goals\n\n| case | to reach | measured | |\n|---|---|---|---|\n")
	reached, measured := 0, 0
	for _, g := range goals {
		verdict := "below"
		switch {
		case g.value == "":
			g.value, verdict = "–", "not measured"
		case g.reached:
			verdict = "PASS"
			reached++
		}
		if g.value != "–" {
			measured++
		}
		fmt.Printf("| %s | %s | %s | %s |\n", g.name, g.want, g.value, verdict)
	}
	fmt.Printf("\n%d of %d goals reached", reached, len(goals))
	if measured < len(goals) {
		fmt.Printf(", %d not measured", len(goals)-measured)
	}
	fmt.Println(".")
}
