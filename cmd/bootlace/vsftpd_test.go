package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

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
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return "ftp://" + addr + "/", dir
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("vsftpd does not answer")
	return "", ""
}
