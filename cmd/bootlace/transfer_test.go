package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/agent/pull"
)

func TestGet(t *testing.T) {
	want := payload(300_000)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a b.img"), want)
	for scheme, url := range map[string]string{"http": web(t, http.FileServer(http.Dir(dir))), "tftp": tftpd(t, dir), "ftp": vsftpd(t, map[string][]byte{"a b.img": want}, false)} {
		t.Run(scheme, func(t *testing.T) {
			here := t.TempDir()
			t.Chdir(here)
			var out, msg bytes.Buffer
			for _, tt := range []struct{ name, args, file string }{
				{"here", "", "a b.img"},
				{"a file", "-o x", "x"},
				{"a folder", "-o " + here, "a b.img"},
				{"not verified", "--no-verify -o y", "y"},
				{"no regular file", "-o /dev/null", ""},
				{"standard output", "-o -", ""},
			} {
				t.Run(tt.name, func(t *testing.T) {
					out.Reset()
					msg.Reset()
					if err := get(t.Context(), append(strings.Fields(tt.args), url+"a%20b.img"), &out, &msg); err != nil {
						t.Fatal(err)
					}
					if tt.file != "" {
						equal(t, tt.file, want)
						absent(t, tt.file+".part")
						os.Remove(tt.file)
					}
					if !strings.Contains(msg.String(), "a b.img: 293.0 KiB by "+scheme) || !strings.Contains(msg.String(), "not verified") {
						t.Errorf("says %q", &msg)
					}
				})
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("standard output has %d bytes", out.Len())
			}
			absent(t, "/dev/null.part")
			err := get(t.Context(), []string{url + "none.img"}, &out, &msg)
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.img") {
				t.Errorf("a missing file: %v", err)
			}
			absent(t, "none.img.part")
			absent(t, "none.img")
		})
	}
}

func TestGetVerifies(t *testing.T) {
	want := payload(300_000)
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	url := web(t, http.FileServer(http.Dir(dir)))
	var msg bytes.Buffer
	manifest(t, dir, "img", want)

	write(t, filepath.Join(dir, "img"), want)
	if err := get(t.Context(), []string{url + "img"}, nil, &msg); err != nil || !strings.Contains(msg.String(), "size and SHA-256 agree with its manifest") {
		t.Errorf("%v, %q", err, &msg)
	}
	equal(t, "img", want)
	os.Remove("img")

	flipped := bytes.Clone(want)
	flipped[200_000] ^= 1
	for name, content := range map[string][]byte{"flipped": flipped, "cut": want[:299_999], "grown": append(bytes.Clone(want), 1)} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(dir, "img"), content)
			err := get(t.Context(), []string{url + "img"}, nil, &msg)
			if !errors.Is(err, pull.ErrCorrupt) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
			absent(t, "img")
			absent(t, "img.part")
			if err := get(t.Context(), []string{"--no-verify", url + "img"}, nil, &msg); err != nil {
				t.Errorf("not verified: %v", err)
			}
			equal(t, "img", content)
			os.Remove("img")
		})
	}

	write(t, filepath.Join(dir, "img.manifest"), []byte(`{"v":1`))
	if err := get(t.Context(), []string{url + "img"}, nil, &msg); err == nil || !strings.Contains(err.Error(), "img.manifest") || !strings.Contains(err.Error(), "--no-verify") {
		t.Errorf("a manifest that is none: %v", err)
	}
}

// A .part that is the beginning of the file is gone on with.
func TestGetResumes(t *testing.T) {
	want := payload(300_000)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "img"), want)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "img"), old, old); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var ranges []string
	files := http.FileServer(http.Dir(dir))
	url := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/img" {
			mu.Lock()
			ranges = append(ranges, r.Header.Get("Range"))
			mu.Unlock()
		}
		files.ServeHTTP(w, r)
	}))
	foreign := bytes.Repeat([]byte("x"), 1000)
	for _, tt := range []struct {
		name     string
		part     []byte
		age      time.Duration
		manifest bool
		ranges   string
	}{
		{"beginning", want[:100_000], 0, true, `["bytes=100000-"]`},
		{"beginning, no manifest", want[:100_000], 0, false, `["bytes=100000-"]`},
		{"all", want, 0, true, "[]"},
		{"all, no manifest", want, 0, false, `["bytes=300000-"]`},
		{"of another file", foreign, 0, true, `["bytes=1000-" ""]`},
		{"too long", append(bytes.Clone(want), 0), 0, true, `[""]`},
		{"older than the file", foreign, 2 * time.Hour, false, `["bytes=1000-" "" ""]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			os.Remove(filepath.Join(dir, "img.manifest"))
			if tt.manifest {
				manifest(t, dir, "img", want)
			}
			write(t, "img.part", tt.part)
			at := time.Now().Add(-tt.age)
			if err := os.Chtimes("img.part", at, at); err != nil {
				t.Fatal(err)
			}
			ranges = nil
			var msg bytes.Buffer
			if err := get(t.Context(), []string{url + "img"}, nil, &msg); err != nil {
				t.Fatal(err)
			}
			equal(t, "img", want)
			absent(t, "img.part")
			if !strings.Contains(msg.String(), fmt.Sprintf("going on from byte %d", len(tt.part))) {
				t.Errorf("says %q", &msg)
			}
			if got := fmt.Sprintf("%q", ranges); got != tt.ranges {
				t.Errorf("ranges %q, want %q", got, tt.ranges)
			}
		})
	}
}

func TestGetStopped(t *testing.T) {
	want := payload(300_000)
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	url := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/img" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", "300000")
		w.Write(want[:200_000])
		http.NewResponseController(w).Flush()
		for r.Context().Err() == nil { // until the client has stored that
			if info, err := os.Stat("img.part"); err == nil && info.Size() == 200_000 {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}))
	var msg bytes.Buffer
	if err := get(ctx, []string{url + "img"}, nil, &msg); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	absent(t, "img")
	equal(t, "img.part", want[:200_000])
	if !strings.Contains(msg.String(), "kept in img.part") {
		t.Errorf("says %q", &msg)
	}
}

// Two at a time would write over each other.
func TestGetTwice(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	write(t, filepath.Join(dir, "img"), payload(10))
	release := make(chan bool)
	reached := make(chan bool, 1)
	files := http.FileServer(http.Dir(dir))
	url := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/img" {
			reached <- true
			<-release
		}
		files.ServeHTTP(w, r)
	}))
	first := make(chan error)
	go func() { first <- get(t.Context(), []string{url + "img"}, nil, io.Discard) }()
	<-reached
	if err := get(t.Context(), []string{url + "img"}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("first: %v", err)
	}
	equal(t, "img", payload(10))
}

func TestGetNobodyThere(t *testing.T) {
	t.Chdir(t.TempDir())
	start := time.Now()
	err := get(t.Context(), []string{"http://127.0.0.1:1/img"}, nil, io.Discard)
	if err == nil || time.Since(start) > patience/2 { // it does not wait for who was never there
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	absent(t, "img.part")
}
