package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/limit"
	"github.com/bootlace/bootlace/boot/appliance/registry"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/verdict"
)

// hangGuard ends a test that waits for what never comes. Nothing that a busy
// machine does late may take as long.
const hangGuard = 2 * time.Minute

// patient cuts nobody off: on a busy machine every client is slow for a while.
var patient = Timing{Header: hangGuard, Request: hangGuard, Idle: hangGuard, Stall: hangGuard, Beat: DefaultTiming.Beat, Stop: 100 * time.Millisecond}

// A fixture is a server on loopback and on a unix socket. It has a tree, a
// store and a journal of its own.
type fixture struct {
	*Server
	t       *testing.T
	url     string // without a trailing slash
	addr    string
	sock    string
	log     *lockedBuffer
	stop    func()
	stopped chan struct{}

	mu    sync.Mutex
	news  chan struct{} // has an element after a note
	notes []boot.Event
	froms []netip.Addr
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

const big = 3*chunk + 12345

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// writeTree makes a folder to serve, and a secret beside it.
func writeTree(t *testing.T) (dir, root string) {
	t.Helper()
	dir = t.TempDir()
	root = filepath.Join(dir, "root")
	for name, data := range map[string][]byte{
		"root/small":        []byte("hello"),
		"root/big":          pattern(big),
		"root/empty":        nil,
		"root/boot.cfg":     []byte("text"),
		"root/page.html":    []byte("<script>"),
		"root/sub/a <b>&.c": []byte("odd name"),
		"root/.hidden/x":    []byte("no"),
		"root/.key":         []byte("no"),
		"secret":            []byte("outside"),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(root, "escape")); err != nil {
		t.Fatal(err)
	}
	return dir, root
}

func start(t *testing.T, change func(*Server)) *fixture {
	t.Helper()
	dir, root := writeTree(t)
	f := &fixture{t: t, log: &lockedBuffer{}, stopped: make(chan struct{}), news: make(chan struct{}, 1)}
	made := func(_ context.Context, c files.Client, name string) ([]byte, error) {
		if name == "plan/made" {
			return []byte("for " + c.Addr.String()), nil
		}
		return nil, fs.ErrNotExist
	}
	tree, err := files.OpenTree(root, files.Made{After: made}, func(c files.Client, ev boot.Event) {
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
	db := store.NewMemory()
	machines, err := registry.New(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.Server = &Server{
		Tree:     tree,
		Journal:  journal.New(slog.New(slog.DiscardHandler), 1000),
		Registry: machines,
		Status:   verdict.Status,
		Timing:   patient,
		MayOrder: func(token string) bool { return token == "control token" },
		Log:      slog.New(slog.NewTextHandler(f.log, nil)),
		Verify: func(_ context.Context, mac boot.MAC, bootID, job, token string) (string, error) {
			if token != "token of "+bootID+job {
				return "", errors.New("wrong")
			}
			m, err := f.Registry.Identify(context.Background(), boot.Facts{MAC: mac})
			return m.ID, err
		},
	}
	if change != nil {
		change(f.Server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr, f.url = l.Addr().String(), "http://"+l.Addr().String()
	f.sock = filepath.Join(dir, "control.sock")
	ul, err := net.Listen("unix", f.sock)
	if err != nil {
		t.Fatal(err)
	}
	f.serveUntilStop(l, ul)
	t.Cleanup(func() {
		f.stop()
		tree.Close()
		db.Close()
	})
	return f
}

// serveUntilStop serves on both listeners, and sets f.stop.
func (f *fixture) serveUntilStop(tcp, unix net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Serve(ctx, tcp); err != nil {
			f.t.Errorf("Serve: %v", err)
		}
	})
	wg.Go(func() {
		if err := f.ServeControl(ctx, unix); err != nil {
			f.t.Errorf("ServeControl: %v", err)
		}
	})
	go func() { wg.Wait(); close(f.stopped) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-f.stopped:
		case <-time.After(hangGuard):
			f.t.Error("the servers do not end")
		}
	})
}

// run runs a subtest, in which f fails the subtest.
func (f *fixture) run(name string, do func(*testing.T)) {
	parent := f.t
	defer func() { f.t = parent }()
	parent.Run(name, func(t *testing.T) {
		f.t = t
		do(t)
	})
}

// noted waits until n requests were noted, and returns the last.
func (f *fixture) noted(n int) boot.Event {
	f.t.Helper()
	for deadline := time.After(hangGuard); ; {
		f.mu.Lock()
		if len(f.notes) >= n {
			defer f.mu.Unlock()
			if len(f.notes) > n {
				f.t.Errorf("%d notes, want %d: %+v", len(f.notes), n, f.notes)
			}
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

func (f *fixture) do(method, path string, header ...string) (*http.Response, string) {
	f.t.Helper()
	req, err := http.NewRequest(method, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := noRedirect.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res, string(body)
}

var noRedirect = &http.Client{
	Timeout:       hangGuard,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func TestConnectionsAreBounded(t *testing.T) {
	f := start(t, func(s *Server) { s.Limits = limit.Bounds{Total: 4, PerHost: 2} })
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(hangGuard))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("third connection: %d, %v, want it closed", n, err)
	}
	held[0].Close()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if res, err := noRedirect.Get(f.url + "/healthz"); err == nil {
			res.Body.Close()
			return
		}
	}
	t.Error("no connection is taken after one was closed")
}

func TestSlowAndLargeHeaders(t *testing.T) {
	f := start(t, func(s *Server) { s.Timing.Header = 200 * time.Millisecond })
	for name, head := range map[string]string{
		"slow":  "GET / HTTP/1.1\r\nHost",
		"large": "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 4*maxHeader) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, head)
			c.SetDeadline(time.Now().Add(hangGuard))
			answer, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) || strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
}

// Each field that is zero gets its default, whatever the others are.
func TestTimingDefaults(t *testing.T) {
	fields := reflect.TypeFor[Timing]()
	for i := range fields.NumField() {
		t.Run(fields.Field(i).Name, func(t *testing.T) {
			var set Timing
			reflect.ValueOf(&set).Elem().Field(i).SetInt(1)
			want := DefaultTiming
			reflect.ValueOf(&want).Elem().Field(i).SetInt(1)
			if got := set.withDefaults(); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
	if got := (Timing{}).withDefaults(); got != DefaultTiming {
		t.Errorf("the zero Timing: %+v", got)
	}
}
