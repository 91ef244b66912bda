package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/tftp/upload"
	"github.com/bootlace/bootlace/images"
)

// payload is n bytes that look random and are always the same.
func payload(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// manifest writes the manifest of content beside name.
func manifest(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	m, err := images.Make(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+images.ManifestSuffix), m.Encode())
}

// web serves by HTTP until the test ends.
func web(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/"
}

// tftpd serves dir, and takes what is new. It gives up after four timeouts. A
// client on a busy machine may be late.
func tftpd(t *testing.T, dir string) string {
	return "tftp://" + upload.ServeFolder(t, dir, 2*time.Second) + "/"
}

// equal checks what a file holds.
func equal(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, others than the %d that were served", path, len(got), len(want))
	}
}

// absent checks that there is no such file.
func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, want it not to be there", path, err)
	}
}

// vsftpd serves files to anonymous until the test ends.
func vsftpd(t *testing.T, files map[string][]byte, upload bool) string {
	url, _ := startVsftpd(t, files, upload)
	return url
}

// vsftpdUpload serves a folder in/ that takes what is new.
func vsftpdUpload(t *testing.T) (url, dir string) { return startVsftpd(t, nil, true) }

func startVsftpd(t *testing.T, files map[string][]byte, upload bool) (url, dir string) {
	nettest.NeedRoot(t)
	program := nettest.Need(t, "vsftpd")
	// Not t.TempDir: its parent is closed to the server's user.
	dir, err := os.MkdirTemp("", "ftp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, "in"): 0o777} {
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	conf := []string{"listen=YES", fmt.Sprintf("listen_port=%d", port), "background=NO", "anonymous_enable=YES", "local_enable=NO",
		"anon_root=" + dir, "no_anon_password=YES", "secure_chroot_dir=" + t.TempDir(), "seccomp_sandbox=NO", "isolate_network=NO", "isolate=NO", "xferlog_enable=NO"}
	if upload {
		conf = append(conf, "write_enable=YES", "anon_upload_enable=YES", "anon_umask=022")
	}
	file := filepath.Join(t.TempDir(), "vsftpd.conf")
	write(t, file, []byte(strings.Join(conf, "\n")+"\n"))
	cmd := exec.Command(program, file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	eventually(t, "vsftpd answers", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "ftp://" + addr + "/", dir
}
