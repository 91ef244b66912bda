package main

import (
	"bytes"
	"context"
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
	for _, tt := range []struct{ url, file string }{
		{tftpd(t, dir) + "new", filepath.Join(dir, "new")},
		{tftpd(t, dir), filepath.Join(dir, "up load.img")},
		{h, filepath.Join(dir, "http-up load.img")},
		{h + "x%20y", filepath.Join(dir, "http-x y")},
		{ftp + "in/new", filepath.Join(ftpDir, "in", "new")},
		{ftp + "in/", filepath.Join(ftpDir, "in", "up load.img")},
	} {
		var msg bytes.Buffer
		if err := put(t.Context(), []string{src, tt.url}, &msg); err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		equal(t, tt.file, want)
		if !strings.Contains(msg.String(), "2.9 MiB by ") {
			t.Errorf("%s: says %q", tt.url, &msg)
		}
	}
	for _, url := range []string{
		tftpd(t, dir) + "new", // is there
		web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) })),
		vsftpd(t, nil, false) + "x",
		"http://127.0.0.1:1/x",
	} {
		if err := put(t.Context(), []string{src, url}, io.Discard); err == nil {
			t.Errorf("%s: no error", url)
		} else if !strings.HasPrefix(url, "tftp") && !strings.Contains(url, ":1/") && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want fs.ErrPermission", url, err)
		}
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
		url  string
		want []string
	}{
		{h, []string{"?[2J", "a b", "sub/"}},
		{h + "sub", []string{"x"}},
		{ftp, []string{"5", "a b", "sub/"}},
		{ftp + "sub/", []string{"x"}},
	} {
		var out bytes.Buffer
		if err := list(t.Context(), []string{tt.url}, &out); err != nil {
			t.Errorf("%s: %v", tt.url, err)
		}
		rest := out.String()
		for _, w := range tt.want {
			i := strings.Index(rest, w)
			if i < 0 {
				t.Errorf("%s: %q is not in %q", tt.url, w, &out)
				break
			}
			rest = rest[i+len(w):]
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: %q", tt.url, &out)
		}
	}
	for _, url := range []string{h + "none/", ftp + "none/"} {
		if err := list(t.Context(), []string{url}, io.Discard); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", url, err)
		}
	}
	if err := list(t.Context(), []string{"tftp://127.0.0.1/"}, io.Discard); err == nil || !strings.Contains(err.Error(), "TFTP has no request for a listing") {
		t.Errorf("tftp: %v", err)
	}
}

func TestTransferUsage(t *testing.T) {
	for _, tt := range []struct {
		run  func(context.Context, []string) error
		args string
	}{
		{runGet, ""},
		{runGet, "http://h/x http://h/y"},
		{runGet, "gopher://h/x"},
		{runGet, "/etc/passwd"},
		{runGet, "http:///x"},
		{runGet, "http://h/"},
		{runGet, "http://h/a/"},
		{runGet, "http://h/.."},
		{runGet, "-x http://h/a"},
		{runGet, "--blksize 7 tftp://h/x"},
		{runGet, "--blksize 65465 tftp://h/x"},
		{runGet, "--blksize x tftp://h/x"},
		{runGet, "--windowsize 0 tftp://h/x"},
		{runGet, "--windowsize 32768 tftp://h/x"},
		{runGet, "--blksize 1428 http://h/x"},
		{runGet, "--windowsize 16 ftp://h/x"},
		{runPut, "/etc/hostname"},
		{runPut, "--windowsize 4 /etc/hostname tftp://h/"},
		{runPut, "--blksize 0 /etc/hostname tftp://h/"},
		{runPut, "--blksize 1428 /etc/hostname ftps://h/"},
		{runPut, "/does/not/exist http://h/"},
		{runPut, "/etc http://h/"},
		{runPut, "/etc/hostname nowhere"},
		{runLs, ""},
		{runLs, "h"},
	} {
		var mistake usageError
		if err := tt.run(t.Context(), strings.Fields(tt.args)); !errors.As(err, &mistake) {
			t.Errorf("%s: %v, want a usage error", tt.args, err)
		}
	}
}
