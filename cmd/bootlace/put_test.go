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

func TestLs(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a b"), []byte("12345"))
	write(t, filepath.Join(dir, "\x1b[2J"), nil)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub", "x"), nil)
	h := web(t, http.FileServer(http.Dir(dir)))
	ftp := vsftpd(t, map[string][]byte{"a b": []byte("12345"), "sub/x": nil}, false)
	for _, tt := range []struct {
		name, url string
		want      []string
	}{
		{"HTTP", h, []string{"?[2J", "a b", "sub/"}},
		{"HTTP, a folder", h + "sub", []string{"x"}},
		{"FTP", ftp, []string{"5", "a b", "sub/"}},
		{"FTP, a folder", ftp + "sub/", []string{"x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := list(t.Context(), []string{tt.url}, &out); err != nil {
				t.Error(err)
			}
			rest := out.String()
			for _, w := range tt.want {
				i := strings.Index(rest, w)
				if i < 0 {
					t.Fatalf("%q is not in %q", w, &out)
				}
				rest = rest[i+len(w):]
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Errorf("%q", &out)
			}
		})
	}
	for name, url := range map[string]string{"HTTP, no such folder": h + "none/", "FTP, no such folder": ftp + "none/"} {
		t.Run(name, func(t *testing.T) {
			if err := list(t.Context(), []string{url}, io.Discard); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, want fs.ErrNotExist", err)
			}
		})
	}
	t.Run("TFTP", func(t *testing.T) {
		if err := list(t.Context(), []string{"tftp://127.0.0.1/"}, io.Discard); err == nil || !strings.Contains(err.Error(), "TFTP has no request for a listing") {
			t.Error(err)
		}
	})
}
