//go:build linux

package main

import (
	"fmt"
	"slices"
)

// groups are the cases, in the order in which they are measured. File sizes are
// such that all of them together take a few minutes.
func groups() []*group {
	return []*group{oneClient(), manyClients(), storm(), halfOpen(), lossy(), delayed(), clientPrograms(), allocs()}
}

// each is a step for each server.
func each(servers []string, r func(server string) run) [][]run {
	var steps [][]run
	for _, s := range servers {
		steps = append(steps, []run{r(s)})
	}
	return steps
}

var everyone = append([]string{ours}, peers...)

func oneClient() *group {
	const lockstep, w16, w64 = "lockstep", "window 16", "window 64"
	g := &group{name: "single", title: "one client"}
	g.steps = slices.Concat(
		each(everyone, func(s string) run { return load(lockstep, s, "64M") }),
		each([]string{ours, atftpd}, func(s string) run { return load(w16, s, "256M", "--windowsize", "16") }),
		each([]string{ours, atftpd}, func(s string) run { return load(w64, s, "256M", "--windowsize", "64") }),
	)
	g.goals = func(r results) []goal {
		best := [2]string{lockstep, r.best(lockstep, peers...)}
		goals := []goal{r.atLeast("one client, lockstep", 1.1, [2]string{lockstep, ours}, best, "the best peer")}
		for _, w := range []struct {
			label       string
			peer, atftp float64
		}{{w16, 5, 1.4}, {w64, 8, 2}} {
			a, b := [2]string{w.label, ours}, [2]string{w.label, atftpd}
			goals = append(goals,
				r.atLeast("one client, "+w.label, w.peer, a, best, "the best peer in lockstep"),
				r.atLeast("one client, "+w.label, w.atftp, a, b, "atftpd at the same window"),
				r.cheaper("one client, "+w.label, 0.5, a, b))
		}
		return goals
	}
	return g
}

func manyClients() *group {
	const label = "400 × 1 MiB"
	return &group{name: "many", title: "400 clients × 1 MiB at once, lockstep",
		steps: each(everyone, func(s string) run { return load(label, s, "1M", "--clients", "400", "--spread", "100ms") }),
		goals: func(r results) []goal {
			a := [2]string{label, ours}
			return []goal{
				r.atLeast("400 clients × 1 MiB, lockstep", 1.2, a, [2]string{label, r.best(label, peers...)}, "the best peer"),
				r.cheaper("400 clients × 1 MiB, lockstep", 0.75, a, [2]string{label, masq}),
			}
		}}
}

func storm() *group {
	const label = "2,000 × 256 KiB"
	return &group{name: "storm", title: "2,000 clients × 256 KiB at once, lockstep", most: 3,
		steps: each(everyone, func(s string) run {
			r := load(label, s, "256K", "--clients", "2000")
			r.once = s != ours
			return r
		}),
		goals: func(r results) []goal {
			a := [2]string{label, ours}
			return []goal{
				r.none("2,000 clients × 256 KiB at once", a),
				r.atMost("2,000 clients × 256 KiB at once", memory, 48, "MB resident", a),
			}
		}}
}

func halfOpen() *group {
	labels := []string{"strangers at the client's address", "strangers at 10,000 addresses"}
	g := &group{name: "halfopen", title: "10,000 half-open strangers, and an honest client that gets 1 MiB again and again (s: its slowest)", most: 3}
	for i, label := range labels {
		flags := []string{"--half-open", "10000", "--tries", "4"}
		if i == 1 {
			flags = append(flags, "--from", strangersNet.String())
		}
		g.steps = append(g.steps, each(everyone, func(s string) run {
			r := load(label, s, "1M", flags...)
			r.once = s != ours
			return r
		})...)
	}
	g.goals = func(r results) []goal {
		var goals []goal
		for _, label := range labels {
			a, name := [2]string{label, ours}, "10,000 half-open "+label
			goals = append(goals, r.none(name, a), r.atMost(name, seconds, 1, "s for 1 MiB", a), r.atMost(name, memory, 64, "MB resident", a))
		}
		return goals
	}
	return g
}

func lossy() *group {
	const lockstep, w16 = "lockstep", "window 16"
	flags := []string{"--clients", "20", "--loss", "0.01"}
	windows := append([]string{"--windowsize", "16"}, flags...)
	// A loss costs the peers a second or more, in which they do nothing. They
	// are measured at the same time, or it would take minutes.
	waiting := []run{load(w16, atftpd, "1M", windows...)}
	for _, p := range peers {
		waiting = append(waiting, load(lockstep, p, "1M", flags...))
	}
	return &group{name: "loss", title: "1 % of packets lost each way, 20 clients × 1 MiB", most: 3,
		steps: [][]run{{load(lockstep, ours, "1M", flags...)}, {load(w16, ours, "1M", windows...)}, waiting},
		goals: func(r results) []goal {
			a, b := [2]string{lockstep, ours}, [2]string{w16, ours}
			return []goal{
				r.atLeast("1 % lost each way, lockstep", 10, a, [2]string{lockstep, r.best(lockstep, peers...)}, "the best peer"),
				r.atLeast("1 % lost each way, window 16", 1, b, a, "ours in lockstep"),
				r.none("1 % lost each way, lockstep", a),
				r.none("1 % lost each way, window 16", b),
			}
		}}
}

// delayed has no goals: it shows what windows are for.
func delayed() *group {
	g := &group{name: "delay", title: "every ACK 0.2 ms late, one client", most: 3}
	for _, w := range []string{"1", "16", "64"} {
		servers, label, file := everyone, "lockstep", "4M"
		if w != "1" {
			servers, label, file = []string{ours, atftpd}, "window "+w, "64M"
		}
		g.steps = append(g.steps, each(servers, func(s string) run {
			return load(label, s, file, "--delay", "200us", "--windowsize", w)
		})...)
	}
	return g
}

func clientPrograms() *group {
	const hpa1, ours1, ours64, ftp = "from tftpd-hpa, lockstep", "from bootlace, lockstep", "from bootlace, window 64", "from vsftpd, FTP"
	g := &group{name: "client", title: "client programs, one file of 256 MiB (CPU: the program's; memory: the server's)"}
	lockstep := func(label, server string, flags ...string) []run {
		return []run{
			fetch(label, get, server, "256M", getLine(flags...)),
			fetch(label, atftp, server, "256M", atftpLine("blksize 1428")),
			fetch(label, curl, server, "256M", curlLine("tftp", "--tftp-blksize", "1428")),
		}
	}
	for _, r := range slices.Concat(lockstep(hpa1, hpa), lockstep(ours1, ours, "--windowsize", "1"), []run{
		fetch(ours64, get, ours, "256M", getLine()),
		fetch(ours64, atftp, ours, "256M", atftpLine("blksize 1428", "windowsize 64")),
		fetch(ftp, curl, ftpd, "256M", curlLine("ftp")),
	}) {
		g.steps = append(g.steps, []run{r})
	}
	g.goals = func(r results) []goal {
		var goals []goal
		for _, label := range []string{hpa1, ours1} {
			for _, tool := range []string{atftp, curl} {
				goals = append(goals, r.atLeast("our client "+label, 1.2, [2]string{label, get}, [2]string{label, tool}, tool))
			}
		}
		return append(goals, r.atLeast("our client "+ours64, 0.4, [2]string{ours64, get}, [2]string{ftp, curl}, "FTP by curl"))
	}
	return g
}

func allocs() *group {
	const server, client = "server", "client"
	label := "allocations a block"
	g := &group{name: "allocs", title: "allocations a block, by the benchmarks of boot/tftp", most: 1,
		steps: [][]run{{allocations(server, "BenchmarkServerBlock")}, {allocations(client, "BenchmarkClientBlock")}}}
	g.print = func(r results) {
		for _, who := range []string{server, client} {
			for _, f := range r[[2]string{label, who}] {
				fmt.Printf("- %s: %s\n", who, f.note)
			}
		}
	}
	g.goals = func(r results) []goal {
		var goals []goal
		for _, who := range []string{server, client} {
			goal := goal{name: "allocations a block, " + who, want: "0"}
			if f := r[[2]string{label, who}]; len(f) > 0 && f[0].failed == 0 {
				goal.value, goal.reached = fmt.Sprintf("%g", f[0].rate), f[0].rate == 0
			}
			goals = append(goals, goal)
		}
		return goals
	}
	return g
}
