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
