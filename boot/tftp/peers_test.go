package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pin "github.com/pin/tftp/v3"

	"github.com/bootlace/bootlace/boot/nettest"
)

// Sizes about block and window boundaries of what the peers ask for.
var peerSizes = []int{0, 511, 512, 1024, 1428, 64 * 1428, 300_000}

// Programs that fetch from our server.
var peerClients = map[string]func(host, port, name, file string) []string{
	"curl": func(h, p, n, f string) []string {
		return []string{"curl", "-sSf", "-o", f, "tftp://" + h + ":" + p + "/" + n}
	},
	"curl 1428": func(h, p, n, f string) []string {
		return []string{"curl", "-sSf", "--tftp-blksize", "1428", "-o", f, "tftp://" + h + ":" + p + "/" + n}
	},
	"curl plain": func(h, p, n, f string) []string {
		return []string{"curl", "-sSf", "--tftp-no-options", "-o", f, "tftp://" + h + ":" + p + "/" + n}
	},
	"atftp": func(h, p, n, f string) []string { return []string{"atftp", "-g", "-r", n, "-l", f, h, p} },
	"atftp window": func(h, p, n, f string) []string {
		return []string{"atftp", "--option", "blksize 1428", "--option", "windowsize 16", "--option", "tsize 0", "--option", "timeout 2", "-g", "-r", n, "-l", f, h, p}
	},
	"tftp-hpa": func(h, p, n, f string) []string { return []string{"tftp", "-m", "binary", h, p, "-c", "get", n, f} },
	"busybox":  func(h, p, n, f string) []string { return []string{"busybox", "tftp", "-g", "-r", n, "-l", f, h, p} },
	"busybox 1428": func(h, p, n, f string) []string {
		return []string{"busybox", "tftp", "-b", "1428", "-g", "-r", n, "-l", f, h, p}
	},
}

func runPeer(t *testing.T, args []string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, nettest.Need(t, args[0]), args[1:]...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPeerClients(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	for _, n := range peerSizes {
		files[fmt.Sprint(n)] = pattern(n)
	}
	for name, command := range peerClients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, change func(*Server)) {
				b := serve(t, files, func(s *Server) { change(s); s.Timing = Timing{} })
				port := fmt.Sprint(b.addr.Port())
				file := filepath.Join(t.TempDir(), "f")
				sizes := peerSizes
				if name == "curl" || name == "curl 1428" {
					sizes = sizes[1:] // curl takes "tsize 0" for malformed, whoever says it
				}
				for i, n := range sizes {
					os.Remove(file)
					out, err := runPeer(t, command("127.0.0.1", port, fmt.Sprint(n), file))
					got, rerr := os.ReadFile(file)
					if n == 0 && errors.Is(rerr, fs.ErrNotExist) {
						rerr = nil // busybox makes no empty file
					}
					if err != nil || rerr != nil || !bytes.Equal(got, files[fmt.Sprint(n)]) {
						t.Errorf("%d bytes: got %d, %v, %v: %s", n, len(got), err, rerr, out)
					}
					if r := b.result(t, i); r.Err != nil || r.Bytes != int64(n) {
						t.Errorf("%d bytes: %+v", n, r)
					}
				}
				os.Remove(file)
				out, _ := runPeer(t, command("127.0.0.1", port, "none", file))
				if r := b.result(t, len(sizes)); !errors.Is(r.Err, fs.ErrNotExist) {
					t.Errorf("a missing file: %+v: %s", r, out)
				}
				if strings.Contains(out, "secret") {
					t.Errorf("the client learnt a path: %s", out)
				}
			})
		})
	}
}

// Servers of others, for our client. Each starts one over dir at a port of
// 127.0.0.1.
var peerServers = map[string]struct {
	args    func(dir, port string) []string
	windows bool
}{
	"tftpd-hpa": {func(dir, port string) []string {
		return []string{"in.tftpd", "-L", "-a", "127.0.0.1:" + port, "-u", "root", "-c", "-s", dir}
	}, false},
	"atftpd": {func(dir, port string) []string {
		return []string{"atftpd", "--daemon", "--no-fork", "--bind-address", "127.0.0.1", "--port", port, "--user", "root.root", "--logfile", "-", dir}
	}, true},
}

func freePort(t *testing.T) string {
	conn := listen(t, "127.0.0.1:0")
	defer conn.Close()
	return fmt.Sprint(conn.LocalAddr().(*net.UDPAddr).Port)
}

// start runs a server until the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() && out.Len() > 0 {
			t.Logf("%s: %s", filepath.Base(cmd.Path), &out)
		}
	})
}

// served is a folder with a file of each size, that any user may read.
func served(t *testing.T) string {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chmod(dir, 0o777)
	for _, n := range peerSizes {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), pattern(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fetchAll gets every file with clients of several tempers.
func fetchAll(t *testing.T, at netip.AddrPort, get func(c *Client, name string, w io.Writer) (Stats, error), windows, tsize bool) {
	t.Helper()
	up := errors.New("not asked")
	for range 100 { // the server takes a moment to start
		if _, up = get(&Client{Timing: fastTiming}, "511", io.Discard); up == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if up != nil {
		t.Fatal(up)
	}
	for _, c := range []*Client{{}, {Windowsize: 1}, {Windowsize: 5, Blksize: 600}, {Windowsize: 1, Blksize: 512}} {
		for _, n := range peerSizes {
			var got bytes.Buffer
			tr, err := get(c, fmt.Sprint(n), &got)
			if err != nil || !bytes.Equal(got.Bytes(), pattern(n)) {
				t.Errorf("%+v, %d bytes: %+v, %v", *c, n, tr, err)
			}
			if tsize && tr.Size != int64(n) {
				t.Errorf("%d bytes: announced as %d", n, tr.Size)
			}
			if windows && c.Windowsize != 1 && tr.Windowsize == 1 {
				t.Errorf("no window: %+v", tr)
			}
		}
	}
	if _, err := get(&Client{}, "none", io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestPeerServers(t *testing.T) {
	t.Parallel()
	for name, s := range peerServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, port := served(t), freePort(t)
			args := s.args(dir, port)
			path := nettest.Need
			if name == "atftpd" {
				path = func(t testing.TB, _ string) string { return nettest.Atftpd(t) }
			}
			start(t, exec.Command(path(t, args[0]), args[1:]...))
			at := netip.MustParseAddrPort("127.0.0.1:" + port)
			fetchAll(t, at, func(c *Client, name string, w io.Writer) (Stats, error) {
				return c.Get(t.Context(), at, name, w)
			}, s.windows, true)
		})
	}
	t.Run("pin", func(t *testing.T) {
		t.Parallel()
		srv := pin.NewServer(func(name string, rf io.ReaderFrom) error {
			var n int
			if _, err := fmt.Sscan(name, &n); err != nil {
				return errors.New("no such file")
			}
			_, err := rf.ReadFrom(bytes.NewReader(pattern(n)))
			return err
		}, nil)
		srv.SetBackoff(func(int) time.Duration { return 0 })
		conn := listen(t, "127.0.0.1:0")
		go srv.Serve(conn)
		defer srv.Shutdown()
		at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		fetchAll(t, at, func(c *Client, name string, w io.Writer) (Stats, error) {
			return c.Get(t.Context(), at, name, w)
		}, false, false)
	})
}

// dnsmasq serves TFTP on port 69 alone, and so in a namespace.
func TestPeerDnsmasq(t *testing.T) {
	t.Parallel()
	a, b := nettest.Pair(t, "10.69.0.1/24", "10.69.0.2/24")
	dir := served(t)
	start(t, a.Command(t, nettest.Need(t, "dnsmasq"), "-d", "-C", "/dev/null", "--port=0", "--user=root", "--enable-tftp", "--tftp-root="+dir))
	at := netip.AddrPortFrom(a.Addr, 69)
	fetchAll(t, at, func(c *Client, name string, w io.Writer) (tr Stats, err error) {
		b.Do(t, func() { tr, err = c.Get(t.Context(), at, name, w) })
		return tr, err
	}, false, true)
}
