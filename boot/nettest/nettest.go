package nettest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// An NS is a network namespace with one Ethernet link, named eth0.
type NS struct {
	Name string // as `ip netns` knows it
	Addr netip.Addr

	handle netns.NsHandle
}

// Pair makes two namespaces whose eth0 are the ends of one cable. Addresses are
// given as CIDR, "" leaves an end without one. Both links are up.
// Without root it skips, which CI counts as a failure.
func Pair(t testing.TB, addrA, addrB string) (a, b *NS) {
	t.Helper()
	NeedRoot(t)
	a, b = newNS(t, "a"), newNS(t, "b")
	ip(t, "link", "add", "eth0", "netns", a.Name, "type", "veth", "peer", "name", "eth0", "netns", b.Name)
	a.up(t, addrA)
	b.up(t, addrB)
	return a, b
}

// NeedRoot skips the test without root, and fails it where CI is set.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "network namespaces need root")
	}
}

// Skip skips the test and says why; in CI a skip is a failure.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI must not skip: %s", why)
	}
	t.Skip(why)
}

// Need returns the path of a program, and skips the test where it is missing.
func Need(t testing.TB, program string) string {
	t.Helper()
	for _, dir := range append(strings.Split(os.Getenv("PATH"), ":"), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(dir + "/" + program); err == nil {
			return p
		}
	}
	Skip(t, program+" is not installed")
	return ""
}

// Atftpd returns the path of atftpd. Debian does not install it beside
// tftpd-hpa: ATFTPD names one that was unpacked elsewhere, as scripts/test does.
func Atftpd(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("ATFTPD"); p != "" {
		return p
	}
	return Need(t, "atftpd")
}

// serial tells apart the namespaces of one test process.
var serial atomic.Int64

// sweep deletes what test processes left behind that were killed. Their
// namespaces bear the numbers of processes that are no more. Two that sweep at
// once do no harm.
func sweep() {
	names, _ := filepath.Glob("/run/netns/bl-*")
	for _, name := range names {
		var pid, n int
		if _, err := fmt.Sscanf(filepath.Base(name), "bl-%d-%d", &pid, &n); err != nil || pid <= 0 {
			continue
		}
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			netns.DeleteNamed(filepath.Base(name))
		}
	}
}

var sweepOnce = sync.OnceFunc(sweep)

func newNS(t testing.TB, end string) *NS {
	sweepOnce()
	n := &NS{Name: fmt.Sprintf("bl-%d-%d%s", os.Getpid(), serial.Add(1), end)}
	ip(t, "netns", "add", n.Name)
	t.Cleanup(func() {
		n.handle.Close()
		exec.Command(Need(t, "ip"), "netns", "del", n.Name).Run()
	})
	h, err := netns.GetFromName(n.Name)
	if err != nil {
		t.Fatalf("open namespace %s: %v", n.Name, err)
	}
	n.handle = h
	ip(t, "-n", n.Name, "link", "set", "lo", "up")
	return n
}

func (n *NS) up(t testing.TB, cidr string) {
	if cidr != "" {
		n.Addr = netip.MustParsePrefix(cidr).Addr()
		// noprefixroute would break replies; nodad makes IPv6 usable at once.
		args := []string{"-n", n.Name, "addr", "add", cidr, "dev", "eth0"}
		if n.Addr.Is6() {
			args = append(args, "nodad")
		}
		ip(t, args...)
	}
	ip(t, "-n", n.Name, "link", "set", "eth0", "up")
}

// Do runs f on a thread inside the namespace. Sockets and commands that f opens
// on its own goroutine belong to the namespace for as long as they live.
func (n *NS) Do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatalf("get own namespace: %v", err)
	}
	defer home.Close()
	if err := netns.Set(n.handle); err != nil {
		t.Fatalf("enter namespace %s: %v", n.Name, err)
	}
	defer func() {
		// A thread that cannot come home stays locked, and ends with its goroutine.
		if err := netns.Set(home); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
}

// Command is exec.Command that runs inside the namespace whoever starts it.
func (n *NS) Command(t testing.TB, name string, args ...string) *exec.Cmd {
	return exec.Command(Need(t, "ip"), append([]string{"netns", "exec", n.Name, name}, args...)...)
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(Need(t, "ip"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
