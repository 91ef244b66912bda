package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/tftp"
)

func runPeer(t *testing.T, args []string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
	defer cancel()
	out, err := exec.CommandContext(ctx, nettest.Need(t, args[0]), args[1:]...).CombinedOutput()
	return string(out), err
}

// Programs that send to our server.
var peerUploaders = map[string]func(host, port, name, file string) []string{
	"curl": func(h, p, n, f string) []string {
		return []string{"curl", "-sSf", "-T", f, "tftp://" + h + ":" + p + "/" + n}
	},
	"atftp": func(h, p, n, f string) []string { return []string{"atftp", "-p", "-r", n, "-l", f, h, p} },
	"atftp 1428": func(h, p, n, f string) []string {
		return []string{"atftp", "--option", "blksize 1428", "--option", "tsize 0", "-p", "-r", n, "-l", f, h, p}
	},
	"tftp-hpa": func(h, p, n, f string) []string { return []string{"tftp", "-m", "binary", h, p, "-c", "put", f, n} },
	"busybox": func(h, p, n, f string) []string {
		return []string{"busybox", "tftp", "-b", "1428", "-p", "-r", n, "-l", f, h, p}
	},
}

func TestPeerUploads(t *testing.T) {
	t.Parallel()
	for name, command := range peerUploaders {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, single bool) {
				d := &drop{}
				b := serve(t, single, d.create)
				port := fmt.Sprint(b.addr.Port())
				file := filepath.Join(t.TempDir(), "f")
				for i, n := range []int{1, 512, 1428, 100_000} {
					data := pattern(n)
					os.WriteFile(file, data, 0o600)
					out, err := runPeer(t, command("127.0.0.1", port, fmt.Sprint(n), file))
					r := b.result(t, i)
					if got, closed, _ := d.get(fmt.Sprint(n)); err != nil || !closed || !bytes.Equal(got, data) || r.Err != nil {
						t.Errorf("%d bytes: got %d, closed %v, %v, %+v: %s", n, len(got), closed, err, r, out)
					}
				}
				runPeer(t, command("127.0.0.1", port, "512", file))
				if r := b.result(t, 4); !errors.Is(r.Err, fs.ErrExist) {
					t.Errorf("a second time: %+v", r)
				}
			})
		})
	}
}

// Servers of others that take files. Each runs over a folder at a port of
// 127.0.0.1.
var peerServers = map[string]func(t *testing.T, dir, port string) *exec.Cmd{
	"tftpd-hpa": func(t *testing.T, dir, port string) *exec.Cmd {
		return exec.Command(nettest.Need(t, "in.tftpd"), "-L", "-a", "127.0.0.1:"+port, "-u", "root", "-c", "-s", dir)
	},
	"atftpd": func(t *testing.T, dir, port string) *exec.Cmd {
		return exec.Command(nettest.Atftpd(t), "--daemon", "--no-fork", "--bind-address", "127.0.0.1", "--port", port, "--user", "root.root", "--logfile", "-", dir)
	},
}

func TestPutToPeers(t *testing.T) {
	t.Parallel()
	for name, command := range peerServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, free := openFolder(t), newPeer(t, netip.AddrPort{})
			at := free.conn.LocalAddr().(*net.UDPAddr).AddrPort()
			free.conn.Close()
			startPeer(t, command(t, dir, fmt.Sprint(at.Port())), at)
			for _, n := range []int{0, 1428, 50_000} {
				data, name := pattern(n), fmt.Sprintf("up%d", n)
				if stats, err := Put(t.Context(), &tftp.Client{}, at, name, bytes.NewReader(data), int64(n)); err != nil {
					t.Errorf("put %d bytes: %+v, %v", n, stats, err)
				}
				var got []byte
				for range hangGuard / (10 * time.Millisecond) { // it may write behind its last ACK
					if got, _ = os.ReadFile(filepath.Join(dir, name)); len(got) == n {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				if !bytes.Equal(got, data) {
					t.Errorf("put %d bytes: the server has %d", n, len(got))
				}
			}
		})
	}
}

// openFolder is one that any user may write to.
func openFolder(t *testing.T) string {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chmod(dir, 0o777)
	return dir
}

// startPeer runs a server until the test ends, and waits until it answers.
func startPeer(t *testing.T, cmd *exec.Cmd, at netip.AddrPort) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := &tftp.Client{Timing: tftp.Timing{Initial: 50 * time.Millisecond}}
	for start := time.Now(); time.Since(start) < hangGuard; time.Sleep(50 * time.Millisecond) {
		if _, err := c.Get(t.Context(), at, "none", &bytes.Buffer{}); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	t.Fatal("the server does not answer")
}
