package conformance

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// A contender is a TFTP server of the table.
type contender struct {
	name    string
	find    func(t testing.TB) string // its program, or skips
	version []string                  // arguments that print it
	ours    bool                      // it must hold every row

	// args is how it is started over a folder, or nil where it has no such
	// mode. Anything else that it needs lies in scratch.
	args func(m Mode, dir, scratch string) []string

	forks, noLimit bool // as in Target

	path string // from find; "" where it is not installed
}

// ours is bootlace with its other protocols off.
var ours = &contender{name: "bootlace", version: []string{"version"}, ours: true, find: buildBootlace,
	args: func(m Mode, dir, scratch string) []string {
		args := []string{"serve", "--root", dir, "--state", filepath.Join(scratch, "state"), "--dhcp", "off", "--ftp", "off", "--http", "off", "--interface", "eth0"}
		switch m {
		case Single:
			args = append(args, "--tftp-single-port")
		case Upload:
			// What is served may not lie where others write.
			args[2] = filepath.Join(scratch, "root")
			os.Mkdir(args[2], 0o755)
			args = append(args, "--upload", dir)
		}
		return args
	}}

var contenders = []*contender{
	ours,
	{name: "tftpd-hpa", version: []string{"-V"}, find: installed("in.tftpd"), forks: true, noLimit: true,
		args: func(m Mode, dir, _ string) []string {
			switch m {
			case Single:
				return nil
			case Upload:
				return []string{"-L", "-c", "-s", dir}
			}
			return []string{"-L", "-s", dir}
		}},
	{name: "atftpd", version: []string{"--version"}, find: nettest.Atftpd, forks: true,
		args: func(m Mode, dir, _ string) []string {
			switch m {
			case Single:
				return nil
			case Plain: // 100 by default: the rows share it
				return []string{"--daemon", "--no-fork", "--logfile", "-", "--maxthread", "500", dir}
			}
			return []string{"--daemon", "--no-fork", "--logfile", "-", dir}
		}},
	{name: "dnsmasq", version: []string{"--version"}, find: installed("dnsmasq"),
		args: func(m Mode, dir, _ string) []string {
			args := []string{"-d", "-C", "/dev/null", "--port=0", "--user=nobody", "--enable-tftp", "--tftp-root=" + dir}
			switch m {
			case Single:
				args = append(args, "--tftp-single-port")
			case Plain: // 50 by default: the rows share it
				args = append(args, "--tftp-max=500")
			case Upload:
				return nil
			}
			return args
		}},
}

func installed(program string) func(testing.TB) string {
	return func(t testing.TB) string { return nettest.Need(t, program) }
}

// buildBootlace builds our server as it goes into firmware, but for its version.
func buildBootlace(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootlace")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/bootlace/bootlace/cmd/bootlace")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build bootlace: %v\n%s", err, out)
	}
	return path
}

// farCommands and nearCommands are what `ip -batch` gives both ends of the
// cables beside their first addresses.
const farCommands = `addr add 10.9.0.3/24 dev eth0
addr add fd09::1/64 dev eth0 nodad
addr add fd09::3/64 dev eth0 nodad
addr add fe80::1/64 dev eth0 nodad
route add 10.9.0.77/32 dev eth0 mtu 1000
link add eth1 type veth peer name eth1 netns %s
addr add fe80::1/64 dev eth1 nodad
addr add 10.9.0.11/24 dev eth1 noprefixroute
link set eth1 up
`

const nearCommands = `addr add 10.9.0.4/24 dev eth0
addr add 10.9.0.77/24 dev eth0
addr add fd09::2/64 dev eth0 nodad
addr add fe80::2/64 dev eth0 nodad
addr add fe80::2/64 dev eth1 nodad
addr add 10.9.0.12/24 dev eth1 noprefixroute
link set eth1 up
`

const dropICMP = "add table inet t; add chain inet t o { type filter hook output priority 0; }; " +
	"add rule inet t o icmp type destination-unreachable drop"

// newCables makes the two cables of a server.
func newCables(t testing.TB) (c *Cables, far *nettest.NS) {
	t.Helper()
	far, near := nettest.Pair(t, Far4.String()+"/24", Near4.String()+"/24")
	batch(t, far, fmt.Sprintf(farCommands, near.Name))
	batch(t, near, nearCommands)
	for _, ns := range []*nettest.NS{far, near} {
		ns.Do(t, func() {
			// An address is answered for on its own cable only, and a packet
			// is taken on whatever cable it comes.
			for name, value := range map[string]string{"arp_ignore": "1", "rp_filter": "0"} {
				if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/"+name, []byte(value), 0); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	c = &Cables{
		Enter: func(client netip.Addr, run func()) {
			if client.IsLoopback() {
				far.Do(t, run)
			} else {
				near.Do(t, run)
			}
		},
		DropICMP: func() error {
			// A row may do so again: two rules are as good as one.
			out, err := near.Command(t, nettest.Need(t, "nft"), dropICMP).CombinedOutput()
			if err != nil {
				return fmt.Errorf("nft: %w: %s", err, out)
			}
			return nil
		},
	}
	near.Do(t, func() {
		for i, name := range []string{"eth0", "eth1"} {
			link, err := net.InterfaceByName(name)
			if err != nil {
				t.Fatal(err)
			}
			c.Zones[i] = fmt.Sprint(link.Index)
		}
	})
	return c, far
}

// batch gives commands to ip(8) of a namespace.
func batch(t testing.TB, ns *nettest.NS, commands string) {
	t.Helper()
	cmd := exec.Command(nettest.Need(t, "ip"), "-n", ns.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

// A server is a contender at work, behind cables of its own.
type server struct {
	Target
	cmd      *exec.Cmd
	out      bytes.Buffer
	stopping sync.Once
}

// start runs a contender over a folder until the test ends. It returns nil
// where the contender has no such mode.
func (c *contender) start(t *testing.T, m Mode, dir string) *server {
	t.Helper()
	args := c.args(m, dir, t.TempDir())
	if args == nil {
		return nil
	}
	s := &server{Target: Target{Server: netip.AddrPortFrom(Far4, 69), Dir: dir, Name: c.name, Forks: c.forks, NoLimit: c.noLimit}}
	cables, far := newCables(t)
	s.Cables = cables
	s.cmd = far.Command(t, c.path, args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // tftpd-hpa is a process a transfer
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() && c.ours {
			t.Logf("the end of what the server said:\n%s", s.out.Bytes()[max(0, s.out.Len()-2000):])
		}
	})
	return s
}

// stop ends the server and every process that it began. Its output can be read
// after that.
func (s *server) stop() {
	s.stopping.Do(func() {
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		s.cmd.Wait()
	})
}

// answers waits until a server answers.
var answers = Row{Name: "the server starts", check: func(p *probe) {
	c := p.client()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		c.rrq("none")
		if _, ok := c.recv(time.Now().Add(100 * time.Millisecond)); ok {
			return
		}
	}
	p.failf("it does not start")
}}
