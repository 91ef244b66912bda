//go:build linux

package main

import (
	"bufio"
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

// A meter tells what a server costs, with all processes that it starts. It is a
// cgroup of version 2. There the kernel counts the CPU time of every process,
// dead or alive. That works without any controller. It matters not who has them:
// systemd, a container, or version 1.
type meter struct {
	dir   string
	fd    *os.File // it, for clone3
	done  chan struct{}
	ended sync.WaitGroup

	mu   sync.Mutex
	peak int64 // bytes
}

func newMeter(dir string) (*meter, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	m := &meter{dir: dir, done: make(chan struct{})}
	var err error
	if m.fd, err = os.Open(dir); err != nil {
		m.remove()
		return nil, fmt.Errorf("open a cgroup: %w", err)
	}
	return m, nil
}

// watch begins to look at the server's memory.
func (m *meter) watch() {
	m.ended.Go(func() {
		const every = 200 * time.Millisecond
		for wait := every; ; {
			select {
			case <-m.done:
				return
			case <-time.After(wait):
			}
			start := time.Now()
			m.look()
			// Thousands of processes take a while: no more than 5 % of a core.
			wait = max(every, 20*time.Since(start))
		}
	})
}

// close ends what is left of the server.
func (m *meter) close() {
	close(m.done)
	m.ended.Wait()
	m.fd.Close()
	m.remove()
}

// remove ends all processes of the cgroup, and removes it once they are reaped.
func (m *meter) remove() error {
	var err error
	for range 250 {
		for _, pid := range m.pids() {
			unix.Kill(pid, unix.SIGKILL)
		}
		if err = os.Remove(m.dir); err == nil || os.IsNotExist(err) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// pids are the server's processes.
func (m *meter) pids() []int {
	var pids []int
	list, _ := os.ReadFile(filepath.Join(m.dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(list)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cpu is the CPU time, user and system, of all processes until now.
func (m *meter) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(filepath.Join(m.dir, "cpu.stat"))
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

// memory is the peak of resident memory, in bytes.
func (m *meter) memory() int64 {
	m.look()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// look takes the memory. Of one process that is what the kernel remembers as its
// peak. Several share most of their pages: theirs is the sum of their parts (PSS).
func (m *meter) look() {
	pids := m.pids()
	file, key := "smaps_rollup", "Pss:"
	if len(pids) == 1 {
		file, key = "status", "VmHWM:"
	}
	sum := int64(0)
	for _, pid := range pids {
		sum += procKB(pid, file, key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peak = max(m.peak, sum<<10)
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
