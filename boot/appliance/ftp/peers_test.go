package ftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	peer "github.com/jlaffaye/ftp"

	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/nettest"
)

// run runs a program and returns its output.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), nettest.Need(t, name), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCurl(t *testing.T) {
	f := start(t, loopback, nil)
	all := pattern(bigSize)
	url := "ftp://" + f.addr + "/"
	file := filepath.Join(t.TempDir(), "got")
	get := func(want []byte, args ...string) {
		t.Helper()
		out, err := run(t, "curl", append([]string{"-sS", "--max-time", "120", "-o", file}, args...)...)
		got, rerr := os.ReadFile(file)
		if err != nil || rerr != nil || !bytes.Equal(got, want) {
			t.Errorf("curl %v: %v, %v, %d bytes, want %d: %s", args, err, rerr, len(got), len(want), out)
		}
	}
	get(all, url+"big")
	get(all, "--disable-epsv", url+"big")
	get(all[5:11], "-r", "5-10", url+"big")
	get(all[chunk:], "-r", fmt.Sprintf("%d-", chunk), url+"big")
	get([]byte("spaced"), url+"sub/deep/x%20y")
	if err := os.WriteFile(file, all[:bigSize/2], 0o600); err != nil {
		t.Fatal(err)
	}
	get(all, "-C", "-", url+"big")
	get(all, "-C", "-", url+"big") // the file is whole already
	if out, err := run(t, "curl", "-sS", "-l", url+"sub/"); err != nil || out != "deep\r\n" && out != "deep\n" {
		t.Errorf("listing: %q, %v", out, err)
	}
	if out, err := run(t, "curl", "-sS", "-I", url+"big"); err != nil || !strings.Contains(out, fmt.Sprintf("Content-Length: %d", bigSize)) {
		t.Errorf("head: %q, %v", out, err)
	}
	for _, bad := range []string{"none", "..%2fsecret", "escape", ".key"} {
		t.Run(bad, func(t *testing.T) {
			if out, err := run(t, "curl", "-sS", "--max-time", "120", "--path-as-is", url+bad); err == nil {
				t.Errorf("%s: %s", bad, out)
			}
		})
	}
	for _, args := range [][]string{{"-P", "-", url + "small"}, {"-T", file, url + "up"}, {"-Q", "DELE small", url}} {
		t.Run("change by "+args[0], func(t *testing.T) {
			if out, err := run(t, "curl", append([]string{"-sS", "--max-time", "120"}, args...)...); err == nil {
				t.Errorf("curl %v: %s", args, out)
			}
		})
	}
}

func TestLftp(t *testing.T) {
	f := start(t, loopback, nil)
	dir := t.TempDir()
	out, err := run(t, "lftp", "-c", fmt.Sprintf(`set net:max-retries 1; set net:timeout 120; set cmd:fail-exit yes
open ftp://%[2]s; mirror / %[1]s/all; pget -n 3 /big -o %[1]s/parts; get /big -o %[1]s/cut; cls -1 /sub/deep`, dir, f.addr))
	if err != nil || out != "/sub/deep/x y\n" {
		t.Fatalf("lftp: %v: %q", err, out)
	}
	for name, want := range map[string][]byte{"all/big": pattern(bigSize), "all/sub/deep/x y": []byte("spaced"), "all/empty": nil, "parts": pattern(bigSize)} {
		t.Run(name, func(t *testing.T) {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
			}
		})
	}
	for _, hidden := range []string{"all/.key", "all/.hidden", "all/escape", "all/up"} {
		t.Run(hidden, func(t *testing.T) {
			if _, err := os.Lstat(filepath.Join(dir, hidden)); err == nil {
				t.Errorf("lftp got %s", hidden)
			}
		})
	}
	if err := os.Truncate(filepath.Join(dir, "cut"), 1000); err != nil {
		t.Fatal(err)
	}
	out, err = run(t, "lftp", "-c", fmt.Sprintf("set net:max-retries 1; set net:timeout 120; open ftp://%s; get -c /big -o %s/cut", f.addr, dir))
	if got, rerr := os.ReadFile(filepath.Join(dir, "cut")); err != nil || rerr != nil || !bytes.Equal(got, pattern(bigSize)) {
		t.Errorf("get -c: %v, %v, %d bytes: %s", err, rerr, len(got), out)
	}
}

// jlaffayeOptions are the ways to ask for a data port.
var jlaffayeOptions = map[string][]peer.DialOption{"EPSV": nil, "PASV": {peer.DialWithDisabledEPSV(true)}}

func (f *fixture) dialJlaffaye(options []peer.DialOption) *peer.ServerConn {
	f.t.Helper()
	c, err := peer.Dial(f.addr, append(options, peer.DialWithTimeout(hangGuard))...)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.Login("anonymous", "x"); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// The client that the device uses.
func TestJlaffaye(t *testing.T) {
	for name, opt := range jlaffayeOptions {
		t.Run(name, func(t *testing.T) {
			f := start(t, loopback, nil)
			c := f.dialJlaffaye(opt)
			all := pattern(bigSize)
			for _, offset := range []int{0, 1, chunk, bigSize} {
				r, err := c.RetrFrom("big", uint64(offset))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, all[offset:]) {
					t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
				}
				if err := r.Close(); err != nil {
					t.Errorf("from %d: close: %v", offset, err)
				}
			}
			if n, err := c.FileSize("big"); err != nil || n != bigSize {
				t.Errorf("size %d, %v", n, err)
			}
			if mod, err := c.GetTime("big"); err != nil || time.Since(mod) > time.Hour {
				t.Errorf("time %v, %v", mod, err)
			}
			if list, err := c.List("/"); err != nil || len(list) != 5 || list[0].Name != "big" || list[0].Size != bigSize || list[4].Type != peer.EntryTypeFolder {
				t.Errorf("list %+v, %v", list, err)
			}
			for name, want := range map[string]int{"none": 550, "../secret": 550, ".key": 550} {
				_, err := c.Retr(name)
				var reply *textproto.Error
				if !errors.As(err, &reply) || reply.Code != want {
					t.Errorf("RETR %s: %v, want %d", name, err, want)
				}
			}
			if _, err := c.RetrFrom("big", bigSize+1); err == nil {
				t.Error("RETR from behind the end")
			}
			if err := c.Stor("new", strings.NewReader("x")); err == nil {
				t.Error("STOR works")
			}
			if err := c.Quit(); err != nil {
				t.Errorf("quit: %v", err)
			}
		})
	}
}

// A server that ends during a transfer must not look like the end of a file.
func TestJlaffayeServerEnds(t *testing.T) {
	for name, opt := range jlaffayeOptions {
		t.Run(name, func(t *testing.T) {
			f := start(t, loopback, nil)
			if err := os.Truncate(filepath.Join(f.root, "big"), 64<<20); err != nil {
				t.Fatal(err)
			}
			r, err := f.dialJlaffaye(opt).Retr("big")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			f.stop()
			_, rerr := io.Copy(io.Discard, r)
			if cerr := r.Close(); rerr == nil || cerr == nil {
				t.Errorf("read: %v, close: %v", rerr, cerr)
			}
		})
	}
}

// TestMain runs a server if TestLinkLocal started this binary. All its threads
// must be in the namespace.
func TestMain(m *testing.M) {
	root := os.Getenv("FTP_TEST_ROOT")
	if root == "" {
		os.Exit(m.Run())
	}
	tree, err := files.OpenTree(root, files.Made{}, nil)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "[::]:2121")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); cancel() }()
	if err := (&Server{Tree: tree}).Serve(ctx, l); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// Link-local addresses have a zone. A device has one before it gets another
// address.
func TestLinkLocal(t *testing.T) {
	a, b := nettest.Pair(t, "fe80::1/64", "fe80::2/64")
	f := start(t, loopback, nil) // for its tree
	server := a.Command(t, os.Args[0])
	server.Env = append(os.Environ(), "FTP_TEST_ROOT="+f.root)
	server.Stderr = os.Stderr
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	out, err := b.Command(t, "curl", "-sS", "-g", "--max-time", "120", "ftp://[fe80::1%25eth0]:2121/small").CombinedOutput()
	if err != nil || string(out) != "hello\nworld\r\n" {
		t.Errorf("%v: %q", err, out)
	}
	stdin.Close()
	if err := server.Wait(); err != nil {
		t.Errorf("server: %v", err)
	}
}
