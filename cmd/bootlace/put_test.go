//go:build !device

package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPut(t *testing.T) {
	want := payload(3_000_000)
	src := filepath.Join(t.TempDir(), "up load.img")
	write(t, src, want)
	dir := t.TempDir()
	ftp, ftpDir := vsftpdUpload(t)
	h := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if r.Method != http.MethodPut || err != nil || r.ContentLength != int64(len(raw)) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		os.WriteFile(filepath.Join(dir, "http-"+filepath.Base(r.URL.Path)), raw, 0o600)
		w.WriteHeader(http.StatusCreated)
	}))
	for _, tt := range []struct{ name, url, file string }{
		{"TFTP, a name", tftpd(t, dir) + "new", filepath.Join(dir, "new")},
		{"TFTP, its own name", tftpd(t, dir), filepath.Join(dir, "up load.img")},
		{"HTTP, its own name", h, filepath.Join(dir, "http-up load.img")},
		{"HTTP, a name", h + "x%20y", filepath.Join(dir, "http-x y")},
		{"FTP, a name", ftp + "in/new", filepath.Join(ftpDir, "in", "new")},
		{"FTP, its own name", ftp + "in/", filepath.Join(ftpDir, "in", "up load.img")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var msg bytes.Buffer
			if err := put(t.Context(), []string{src, tt.url}, &msg); err != nil {
				t.Fatal(err)
			}
			equal(t, tt.file, want)
			if !strings.Contains(msg.String(), "2.9 MiB by ") {
				t.Errorf("says %q", &msg)
			}
		})
	}
	for _, tt := range []struct {
		name, url  string
		permission bool // the error says so
	}{
		{"TFTP, the file is there", tftpd(t, dir) + "new", false},
		{"HTTP takes none", web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) })), true},
		{"FTP takes none", vsftpd(t, nil, false) + "x", true},
		{"nobody there", "http://127.0.0.1:1/x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := put(t.Context(), []string{src, tt.url}, io.Discard); err == nil {
				t.Error("no error")
			} else if tt.permission && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%v, want fs.ErrPermission", err)
			}
		})
	}
}

// The flags reach a TFTP server with an upload, as TestTFTPOptions has them with
// a download.
func TestPutTFTPOptions(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, payload(5000))
	s := serveTFTP(t, nil, 0)
	if err := put(t.Context(), []string{"--blksize", "1024", src, s.url}, io.Discard); err != nil {
		t.Error(err)
	}
	if asked := s.requests(); asked.names() != "src" || asked[0].Options.Blksize != 1024 {
		t.Errorf("it asks with %+v", asked)
	}
}
