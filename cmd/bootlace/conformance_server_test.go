package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
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

// A contender is a TFTP server of the table. args returns how it is started
// over a folder, or nil where it has no such mode; scratch is a folder for
// anything else it needs.
type contender struct {
	name    string
	find    func(t testing.TB) string // its program, or skips
	version []string                  // arguments that print it
	args    func(m mode, dir, scratch string) []string

	path string // from find; "" where it is not installed
}

// A mode is a way to run a server. All but alone have one server for all their
// rows.
type mode int

const (
	plain  mode = iota
	alone       // as plain with the program's own limits, and a server of the row's own
	single      // everything from port 69
	upload      // takes new files into the folder
)

var contenders = []*contender{
	{name: "bootlace", version: []string{"version"}, find: func(testing.TB) string { return binary },
		args: func(m mode, dir, scratch string) []string {
			args := []string{"serve", "--root", dir, "--state", filepath.Join(scratch, "state"), "--dhcp", "off", "--ftp", "off", "--http", "off", "--interface", "eth0"}
			switch m {
			case single:
				args = append(args, "--tftp-single-port")
			case upload:
				// What is served may not lie where others write.
				args[2] = filepath.Join(scratch, "root")
				os.Mkdir(args[2], 0o755)
				args = append(args, "--upload", dir)
			}
			return args
		}},
	{name: "tftpd-hpa", version: []string{"-V"}, find: func(t testing.TB) string { return nettest.Need(t, "in.tftpd") },
		args: func(m mode, dir, scratch string) []string {
			switch m {
			case single:
				return nil
			case upload:
				return []string{"-L", "-c", "-s", dir}
			}
			return []string{"-L", "-s", dir}
		}},
	{name: "atftpd", version: []string{"--version"}, find: nettest.Atftpd,
		args: func(m mode, dir, scratch string) []string {
			switch m {
			case single:
				return nil
			case plain: // 100 by default: the rows share it
				return []string{"--daemon", "--no-fork", "--logfile", "-", "--maxthread", "500", dir}
			}
			return []string{"--daemon", "--no-fork", "--logfile", "-", dir}
		}},
	{name: "dnsmasq", version: []string{"--version"}, find: func(t testing.TB) string { return nettest.Need(t, "dnsmasq") },
		args: func(m mode, dir, scratch string) []string {
			args := []string{"-d", "-C", "/dev/null", "--port=0", "--user=nobody", "--enable-tftp", "--tftp-root=" + dir}
			switch m {
			case single:
				args = append(args, "--tftp-single-port")
			case plain: // 50 by default: the rows share it
				args = append(args, "--tftp-max=500")
			case upload:
				return nil
			}
			return args
		}},
}

// The two cables between a server and its clients. On the second the server
// has the first's link-local address again, and an address of the first's
// subnet without a route of its own.
var (
	far4, far4b          = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.3")
	far6, far6b, farLink = netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::3"), netip.MustParseAddr("fe80::1")
	near4, near4b        = netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.4")
	near6, nearLink      = netip.MustParseAddr("fd09::2"), netip.MustParseAddr("fe80::2")
	near4narrow          = netip.MustParseAddr("10.9.0.77") // the route to it carries packets of 1000 bytes
	near4second          = netip.MustParseAddr("10.9.0.12") // on the second
	far4second           = netip.MustParseAddr("10.9.0.11")
	local4               = netip.MustParseAddr("127.0.0.1")
)

const cables = `addr add 10.9.0.3/24 dev eth0
addr add fd09::1/64 dev eth0 nodad
addr add fd09::3/64 dev eth0 nodad
addr add fe80::1/64 dev eth0 nodad
route add 10.9.0.77/32 dev eth0 mtu 1000
link add eth1 type veth peer name eth1 netns %s
addr add fe80::1/64 dev eth1 nodad
addr add 10.9.0.11/24 dev eth1 noprefixroute
link set eth1 up
`

const nearCables = `addr add 10.9.0.4/24 dev eth0
addr add 10.9.0.77/24 dev eth0
addr add fd09::2/64 dev eth0 nodad
addr add fe80::2/64 dev eth0 nodad
addr add fe80::2/64 dev eth1 nodad
addr add 10.9.0.12/24 dev eth1 noprefixroute
link set eth1 up
`

// A server is a contender at work, and the cables to its clients.
type server struct {
	*contender
	mode      mode
	far, near *nettest.NS
	zones     [2]string // of the clients' ends
	root      string    // the folder it serves, or takes files into

	cmd      *exec.Cmd
	out      bytes.Buffer
	stopping sync.Once
}

// startServer returns nil where the contender has no such mode.
func startServer(t testing.TB, c *contender, m mode, root string) *server {
	args := c.args(m, root, t.TempDir())
	if args == nil {
		return nil
	}
	s := &server{contender: c, mode: m, root: root}
	s.far, s.near = nettest.Pair(t, "10.9.0.1/24", "10.9.0.2/24")
	batch := func(ns *nettest.NS, commands string) {
		cmd := exec.Command(nettest.Need(t, "ip"), "-n", ns.Name, "-batch", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ip: %v: %s", err, out)
		}
	}
	batch(s.far, fmt.Sprintf(cables, s.near.Name))
	batch(s.near, nearCables)
	for _, ns := range []*nettest.NS{s.far, s.near} {
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
	s.near.Do(t, func() {
		for i, name := range []string{"eth0", "eth1"} {
			link, err := net.InterfaceByName(name)
			if err != nil {
				t.Fatal(err)
			}
			s.zones[i] = fmt.Sprint(link.Index)
		}
	})
	s.cmd = s.far.Command(t, c.path, args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // tftpd-hpa is a process a transfer
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() && c == contenders[0] {
			t.Logf("the end of what the server said, mode %d:\n%s", m, s.out.Bytes()[max(0, s.out.Len()-2000):])
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

// ready waits until the server answers.
func (s *server) ready(t testing.TB) error {
	up := behaviour{check: func(p *probe) {
		c := p.client()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			c.rrq("none")
			if _, ok := c.recv(time.Now().Add(100 * time.Millisecond)); ok {
				return
			}
		}
		s.stop()
		p.failf("it does not start: %s", s.out.String())
	}}
	if v := up.run(t, s); v.word != "yes" {
		return errors.New(v.detail)
	}
	return nil
}

// files are what every server serves, by name.
var files map[string][]byte

// openDir makes a folder that every user may read, and write to.
func openDir(t testing.TB) string {
	t.Helper()
	// Not t.TempDir: its parent is closed to the servers' users.
	dir, err := os.MkdirTemp("", "conformance")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// hidden is what no server may give away: it lies beside the folder served.
const hidden = "not for strangers"

// conformanceFiles makes the folder that is served, beside a secret.
func conformanceFiles(t testing.TB) string {
	t.Helper()
	base := openDir(t)
	root := filepath.Join(base, "root")
	files = map[string][]byte{}
	random := rand.NewChaCha8([32]byte{7})
	for name, size := range map[string]int{"empty": 0, "small": 700, "exact": 1024, "middle": 100_000, "mib": 1 << 20,
		"dir/file": 1000, "dir/of two words": 600, "dir/größer": 600, "rollover": 8*65536 + 8*40 + 3} {
		data := make([]byte, size)
		random.Read(data)
		files[name] = data
	}
	files["link-inside"] = files["small"]
	// Line ends of all kinds, at every place in a block.
	for i := range 3000 {
		files["lines"] = append(files["lines"], "abc\n\r\r\n"[random.Uint64()%7], byte('0'+i%10))
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "dir"), 0o755))
	must(os.Chmod(root, 0o755))
	for name, data := range files {
		if name != "link-inside" {
			must(os.WriteFile(filepath.Join(root, name), data, 0o644))
		}
	}
	for _, name := range []string{"secret", "root/.dot", "root/dir/.dot"} {
		must(os.WriteFile(filepath.Join(base, name), []byte(hidden), 0o644))
	}
	must(os.WriteFile(filepath.Join(root, "huge"), nil, 0o644))
	must(os.Truncate(filepath.Join(root, "huge"), huge))
	must(os.Symlink("small", filepath.Join(root, "link-inside")))
	must(os.Symlink("../secret", filepath.Join(root, "link-out")))
	must(os.Symlink(filepath.Join(base, "secret"), filepath.Join(root, "link-absolute")))
	must(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o666))
	return root
}

// huge is the size of a file, without blocks on the disk, that 32 bits do not hold.
const huge = 5<<30 + 11
