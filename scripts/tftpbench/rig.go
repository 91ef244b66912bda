//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A rig is two namespaces joined by a veth pair. Servers run in one, clients in
// the other. The files that are served lie in a folder in memory.
type rig struct {
	dir     string // on a tmpfs: files in root/, what clients write in out/
	root    string
	cgroups string // where those of the servers are made
	server  string // namespaces
	client  string
	cleanup []func() error
}

var (
	clientAddr   = netip.MustParseAddr("10.9.0.2")
	serverNet    = netip.MustParseAddr("10.9.0.10") // the servers get those that follow in turn
	strangersNet = netip.MustParsePrefix("10.77.0.0/16")
)

// servers is how many can be there at once. dnsmasq answers on port 69 only, so
// each gets an address of its own. What was meant for one server does not go to
// the next.
const servers = 16

// serverAddr is the i-th address.
func serverAddr(i int) netip.Addr {
	a := serverNet
	for range i + 1 {
		a = a.Next()
	}
	return a
}

// prefix, and the process number, begin the name of whatever the bench makes.
const prefix = "tftpbench-"

// newRig makes a rig. Whatever the error, close it.
func newRig() (*rig, error) {
	if os.Geteuid() != 0 {
		return &rig{}, errors.New("network namespaces need root")
	}
	r := &rig{server: fmt.Sprintf("%s%d-s", prefix, os.Getpid()), client: fmt.Sprintf("%s%d-c", prefix, os.Getpid())}
	if err := r.makeFolders(); err != nil {
		return r, err
	}
	r.removeStale()
	for _, ns := range []string{r.server, r.client} {
		if err := ip("netns", "add", ns); err != nil {
			return r, err
		}
		r.onClose(func() error { return ip("netns", "del", ns) })
		if err := ip("-n", ns, "link", "set", "lo", "up"); err != nil {
			return r, err
		}
	}
	steps := [][]string{
		{"link", "add", "eth0", "mtu", "1500", "netns", r.server, "type", "veth", "peer", "name", "eth0", "mtu", "1500", "netns", r.client},
		{"-n", r.client, "addr", "add", clientAddr.String() + "/24", "dev", "eth0"},
		{"-n", r.client, "link", "set", "eth0", "up"},
		{"-n", r.server, "link", "set", "eth0", "up"},
		// Strangers' addresses are the client's own, and it answers nobody for them.
		{"-n", r.client, "route", "add", "local", strangersNet.String(), "dev", "lo"},
	}
	for i := range servers {
		steps = append(steps, []string{"-n", r.server, "addr", "add", serverAddr(i).String() + "/24", "dev", "eth0"})
	}
	steps = append(steps, []string{"-n", r.server, "route", "add", strangersNet.String(), "via", clientAddr.String()})
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return r, err
		}
	}
	return r, nil
}

// removeStale removes what killed benches have left. Servers are found by their
// cgroups, then there are namespaces and folders.
func (r *rig) removeStale() {
	for _, dir := range stale(r.cgroups) {
		(&meter{dir: dir}).remove()
	}
	for _, ns := range stale("/run/netns") {
		ip("netns", "del", filepath.Base(ns))
	}
	for _, dir := range stale(os.TempDir()) {
		unix.Unmount(dir, unix.MNT_DETACH)
		os.Remove(dir)
	}
}

// stale are the paths in a folder whose bench is gone, by their names.
func stale(dir string) (paths []string) {
	all, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
	for _, path := range all {
		digits, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		if pid, err := strconv.Atoi(digits); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			paths = append(paths, path)
		}
	}
	return paths
}

func (r *rig) onClose(f func() error) { r.cleanup = append(r.cleanup, f) }

func (r *rig) close() error {
	var errs []error
	for i := len(r.cleanup) - 1; i >= 0; i-- {
		errs = append(errs, r.cleanup[i]())
	}
	r.cleanup = nil
	return errors.Join(errs...)
}

// sizes of the files that are served, by name.
var sizes = map[string]int{"1": 1, "256K": 256 << 10, "1M": 1 << 20, "4M": 4 << 20, "64M": 64 << 20, "256M": 256 << 20}

// makeFolders mounts the folder, and fills it.
func (r *rig) makeFolders() error {
	var err error
	if r.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid())); err != nil {
		return err
	}
	r.onClose(func() error { return os.RemoveAll(r.dir) })
	if err := unix.Mount("tmpfs", r.dir, "tmpfs", 0, "size=2g,mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	r.onClose(func() error { return unix.Unmount(r.dir, unix.MNT_DETACH) })
	r.root, r.cgroups = filepath.Join(r.dir, "root"), filepath.Join(r.dir, "cgroups")
	for _, dir := range []string{r.root, r.cgroups, filepath.Join(r.dir, "out"), filepath.Join(r.dir, "empty"), filepath.Join(r.dir, "state")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mountCgroups(r.cgroups); err != nil {
		return err
	}
	r.onClose(func() error { return unix.Unmount(r.cgroups, unix.MNT_DETACH) })
	for name, size := range sizes {
		if err := makeFile(filepath.Join(r.root, name), size); err != nil {
			return err
		}
	}
	return nil
}

// mountCgroups mounts the hierarchy of version 2 once more. Where a system or a
// container has mounted it, it may be read-only.
func mountCgroups(dir string) error {
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount cgroup2: %w", err)
	}
	return nil
}

// makeFile writes bytes drawn from a seed that is the size.
func makeFile(name string, size int) error {
	p := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)}).Read(p)
	return os.WriteFile(name, p, 0o644)
}

// start starts a command in a namespace, and in the cgroup unless it is nil. It
// does not get the terminal's signals: the bench ends it.
func (r *rig) start(ns string, cmd *exec.Cmd, cgroup *os.File) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
	}
	if ns == "" {
		return cmd.Start()
	}
	return inNS(ns, cmd.Start)
}

// inNS runs f on a thread inside a namespace. Sockets that f opens belong to it,
// and so do processes that f starts.
func inNS(ns string, f func() error) error {
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer there.Close()
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err == nil {
		defer home.Close()
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	defer func() {
		// A thread that cannot come home stays locked, and ends with its goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

func ip(args ...string) error {
	cmd := exec.CommandContext(context.Background(), "ip", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it cleans up after a signal, too
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
