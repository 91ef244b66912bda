//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A meter tells what a server costs, with all processes that it starts.
//
// In a cgroup of version 2 the kernel counts the CPU time of every process, dead
// or alive; that works without any controller, so where systemd or a container
// keeps the hierarchy for itself only the right to make a folder may be missing.
// Without it the times in /proc of all that descend from the server are summed up
// every few milliseconds, and the last of a short-lived process is missed.
type meter struct {
	dir string   // the cgroup; "" without
	fd  *os.File // it, for clone3

	mu    sync.Mutex
	main  int
	seen  map[process]time.Duration // without a cgroup: CPU time last seen
	peak  int64                     // bytes
	done  chan struct{}
	ended sync.WaitGroup
}

// A process is one even when its number is used again.
type process struct {
	pid   int
	start uint64 // clock ticks after boot
}

// cgroupMount returns where the hierarchy of version 2 is.
func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}

// findCgroups returns how the path of a server's cgroup begins, or why there can
// be none.
func findCgroups() (string, error) {
	dir, err := cgroupMount()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, fmt.Sprintf("%s%d", prefix, os.Getpid()))
	return dir, tryCgroup(dir)
}

func tryCgroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.Remove(dir)
	_, err := cgroupCPU(dir)
	return err
}

func cgroupCPU(dir string) (time.Duration, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(stat)) {
		if us, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(us), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, errors.New("cpu.stat has no usage_usec")
}

// newMeter makes the n-th one, with a cgroup where that works.
func newMeter(cgroups string, n int) *meter {
	m := &meter{seen: map[process]time.Duration{}, done: make(chan struct{})}
	if cgroups == "" {
		return m
	}
	dir := fmt.Sprintf("%s-%d", cgroups, n)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return m
	}
	fd, err := os.Open(dir)
	if err != nil {
		os.Remove(dir)
		return m
	}
	m.dir, m.fd = dir, fd
	return m
}

func (m *meter) cgroupFD() int {
	if m.fd == nil {
		return -1
	}
	return int(m.fd.Fd())
}

// watch begins to look at the server with this number.
func (m *meter) watch(pid int) {
	m.main = pid
	every := 200 * time.Millisecond
	if m.dir == "" {
		every = 5 * time.Millisecond
	}
	m.ended.Go(func() {
		for wait := every; ; {
			select {
			case <-m.done:
				return
			case <-time.After(wait):
			}
			start := time.Now()
			m.look()
			// To look at thousands of processes takes a while: no more than 5 % of a core.
			wait = max(every, 20*time.Since(start))
		}
	})
}

func (m *meter) stopWatching() {
	close(m.done)
	m.ended.Wait()
}

// look takes the memory: of one process what the kernel remembers as its peak; of
// several, whose pages are mostly shared, the sum of their parts (PSS).
func (m *meter) look() {
	pids := m.pids()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir == "" {
		for _, pid := range pids {
			if p, cpu, err := procCPU(pid); err == nil {
				m.seen[p] = cpu
			}
		}
	}
	if len(pids) < 2 {
		m.peak = max(m.peak, procKB(m.main, "status", "VmHWM:")<<10)
		return
	}
	sum := int64(0)
	for _, pid := range pids {
		sum += procKB(pid, "smaps_rollup", "Pss:")
	}
	m.peak = max(m.peak, sum<<10)
}

// pids are the server's processes.
func (m *meter) pids() []int {
	if m.dir != "" {
		var pids []int
		list, _ := os.ReadFile(filepath.Join(m.dir, "cgroup.procs"))
		for word := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	pids := []int{m.main}
	for i := 0; i < len(pids); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, name := range tasks {
			list, _ := os.ReadFile(name)
			for word := range strings.FieldsSeq(string(list)) {
				if pid, err := strconv.Atoi(word); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// cpu is the CPU time, user and system, of all processes until now.
func (m *meter) cpu() (time.Duration, error) {
	if m.dir != "" {
		return cgroupCPU(m.dir)
	}
	m.look()
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := time.Duration(0)
	for _, cpu := range m.seen {
		sum += cpu
	}
	return sum, nil
}

// memory is the peak of resident memory, in bytes: that of the one process, or
// of all together when there were several at a look.
func (m *meter) memory() int64 {
	m.look()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// kill ends what the server started and left behind.
func (m *meter) kill() {
	for range 100 {
		pids := m.pids()
		if m.dir == "" {
			pids = nil
			m.mu.Lock()
			for p := range m.seen {
				if now, _, err := procCPU(p.pid); err == nil && now == p && p.pid != m.main {
					pids = append(pids, p.pid)
				}
			}
			m.mu.Unlock()
		}
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// close removes the cgroup, once its last process has been reaped.
func (m *meter) close() {
	if m.dir == "" {
		return
	}
	if m.fd != nil {
		m.fd.Close()
	}
	for range 100 {
		if err := os.Remove(m.dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// procCPU is the CPU time of a process, to 10 ms.
func procCPU(pid int) (process, time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, 0, err
	}
	// The name, in parentheses, may hold anything: proc(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return process{}, 0, unix.ESRCH
	}
	ticks := int64(0)
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return process{}, 0, err
		}
		ticks += n
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	const tick = time.Second / 100 // USER_HZ, on every Linux that Go runs on
	return process{pid, start}, time.Duration(ticks) * tick, err
}

// procKB reads a line such as "VmHWM: 1234 kB" of a file in /proc.
func procKB(pid int, file, key string) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), key); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n
		}
	}
	return 0
}
