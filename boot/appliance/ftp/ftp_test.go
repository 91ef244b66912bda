package ftp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
)

// hangGuard ends a test that waits for what never comes. Nothing that a busy
// machine does late may take as long.
const hangGuard = 2 * time.Minute

// patient cuts nobody off: on a busy machine every client is slow for a while.
var patient = Timing{Login: hangGuard, Idle: hangGuard, Reply: hangGuard, Data: hangGuard, Port: hangGuard, Stall: hangGuard, Stop: time.Hour}

const bigSize = chunk + 123456

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// A fixture is a server on loopback, with a tree of its own.
type fixture struct {
	t    *testing.T
	addr string
	root string
	tree *files.Tree
	stop func() // and wait

	mu    sync.Mutex
	news  chan struct{} // has an element after a note
	notes []boot.Event
	froms []netip.Addr
}

// writeTree makes a folder to serve, and a secret beside it.
func writeTree(t *testing.T) (root string) {
	t.Helper()
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	for name, data := range map[string][]byte{
		"root/small":        []byte("hello\nworld\r\n"),
		"root/big":          pattern(bigSize),
		"root/empty":        nil,
		"root/sub/deep/x y": []byte("spaced"),
		"root/.hidden/x":    []byte("no"),
		"root/.key":         []byte("no"),
		"secret":            []byte("outside"),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"escape": "../secret", "inside": "small", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func start(t *testing.T, listen string, change func(*Server)) *fixture {
	t.Helper()
	f := &fixture{t: t, root: writeTree(t), news: make(chan struct{}, 1)}
	made := func(_ context.Context, c files.Client, name string) ([]byte, error) {
		switch name {
		case "plan/made":
			return []byte("for " + c.Addr.String()), nil
		case "plan/broken":
			return nil, errors.New("read /dev/sda: input/output error")
		}
		return nil, fs.ErrNotExist
	}
	tree, err := files.OpenTree(f.root, files.Made{After: made}, func(c files.Client, ev boot.Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notes, f.froms = append(f.notes, ev), append(f.froms, c.Addr)
		select {
		case f.news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	f.tree = tree
	s := &Server{
		Tree: tree,
		Log:  slog.New(slog.DiscardHandler),

		Timing: patient,
	}
	if change != nil {
		change(s)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(hangGuard):
			t.Error("Serve does not end")
		}
	})
	t.Cleanup(func() {
		f.stop()
		tree.Close()
	})
	return f
}

const loopback = "127.0.0.1:0"

// noted waits until n transfers were noted, and returns the last.
func (f *fixture) noted(n int) boot.Event {
	f.t.Helper()
	for deadline := time.After(hangGuard); ; {
		f.mu.Lock()
		if len(f.notes) >= n {
			defer f.mu.Unlock()
			return f.notes[n-1]
		}
		f.mu.Unlock()
		select {
		case <-f.news:
		case <-deadline:
			f.t.Fatalf("note %d does not come", n)
		}
	}
}

// A client speaks FTP by hand.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// dial connects. The client's address is from, where that is not "".
func (f *fixture) dial(from string) *client {
	f.t.Helper()
	d := net.Dialer{Timeout: hangGuard}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(hangGuard))
	return &client{c, f.t, bufio.NewReader(c)}
}

func (f *fixture) login(from string) *client {
	f.t.Helper()
	c := f.dial(from)
	c.want("220")
	c.cmd("331", "USER anonymous")
	c.cmd("230", "PASS x@")
	return c
}

// want reads a reply and checks its code.
func (c *client) want(code string) string {
	c.t.Helper()
	var all string
	for {
		line, err := c.in.ReadString('\n')
		all += line
		if err != nil {
			c.t.Fatalf("want reply %s, got %q, %v", code, all, err)
		}
		if len(line) > 3 && line[3] == ' ' && line[0] >= '1' && line[0] <= '5' {
			if !strings.HasPrefix(line, code) {
				c.t.Fatalf("want reply %s, got %q", code, all)
			}
			return all
		}
	}
}

func (c *client) cmd(code, format string, args ...any) string {
	c.t.Helper()
	fmt.Fprintf(c, format+"\r\n", args...)
	return c.want(code)
}

var epsvReply = regexp.MustCompile(`\(\|\|\|(\d+)\|\)`)

// run runs a subtest, in which f and c fail the subtest. c may be nil.
func (f *fixture) run(name string, c *client, do func(*testing.T)) {
	parent := f.t
	defer func() {
		f.t = parent
		if c != nil {
			c.t = parent
		}
	}()
	parent.Run(name, func(t *testing.T) {
		f.t = t
		if c != nil {
			c.t = t
		}
		do(t)
	})
}

// port requests a data port by EPSV.
func (c *client) port() int {
	c.t.Helper()
	m := epsvReply.FindStringSubmatch(c.cmd("229", "EPSV"))
	if m == nil {
		c.t.Fatal("no port in EPSV's reply")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// connect opens a data connection.
func (c *client) connect(port int) net.Conn {
	c.t.Helper()
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.LocalAddr().(*net.TCPAddr).IP}, Timeout: hangGuard}
	dc, err := d.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { dc.Close() })
	dc.SetDeadline(time.Now().Add(hangGuard))
	return dc
}

// retr fetches a file.
func (c *client) retr(name string, offset int) []byte {
	c.t.Helper()
	dc := c.connect(c.port())
	if offset > 0 {
		c.cmd("350", "REST %d", offset)
	}
	c.cmd("150", "RETR %s", name)
	raw, err := io.ReadAll(dc)
	if err != nil {
		c.t.Fatal(err)
	}
	c.want("226")
	return raw
}

// leaks checks that f leaves no goroutine and no file descriptor open.
func leaks(t *testing.T, f func(*testing.T)) {
	t.Helper()
	count := func() (int, int) {
		runtime.GC()
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(fds)
	}
	g, fd := count()
	t.Run("run", f) // f's cleanups have run when it returns
	var g2, fd2 int
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if g2, fd2 = count(); g2 <= g && fd2 <= fd {
			return
		}
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines and %d descriptors, before %d and %d\n%s", g2, fd2, g, fd, buf[:runtime.Stack(buf, true)])
}
