package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp"
	tftpupload "github.com/bootlace/bootlace/boot/tftp/upload"
)

// A tftpServer serves one file, "img", and takes what it is sent.
type tftpServer struct {
	url string

	mu    sync.Mutex
	asked []tftp.Request
}

func serveTFTP(t *testing.T, img io.ReaderAt, size int64) *tftpServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &tftpServer{url: "tftp://" + conn.LocalAddr().String() + "/"}
	note := func(r *tftp.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, *r)
	}
	server := &tftp.Server{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Open: func(_ context.Context, r *tftp.Request) (*tftp.Source, error) {
			note(r)
			if r.Name != "img" {
				return nil, fs.ErrNotExist
			}
			return &tftp.Source{ReaderAt: img, Size: size}, nil
		},
		Uploads: &tftpupload.Receiver{Create: func(_ context.Context, r *tftp.Request) (io.WriteCloser, error) {
			note(r)
			return discard{}, nil
		}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func (s *tftpServer) requests() []tftp.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// The flags reach the server, with the request for the manifest as well.
func TestTFTPOptions(t *testing.T) {
	want := payload(5000)
	for _, tt := range []struct {
		flags string
		asked tftp.Options
	}{
		{"", tftp.Options{TSize: true, Blksize: 1428, Windowsize: 64}},
		{"--blksize 8192 --windowsize 3", tftp.Options{TSize: true, Blksize: 8192, Windowsize: 3}},
		{"--blksize 512 --windowsize 1", tftp.Options{TSize: true}},
	} {
		s := serveTFTP(t, bytes.NewReader(want), int64(len(want)))
		var out bytes.Buffer
		if err := get(t.Context(), append(strings.Fields(tt.flags), "-o", "-", s.url+"img"), &out, io.Discard); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("get %s: %d bytes, %v", tt.flags, out.Len(), err)
		}
		if asked := s.requests(); len(asked) != 2 || asked[0].Options != tt.asked || asked[1].Options != tt.asked {
			t.Errorf("get %s asks for %+v", tt.flags, asked)
		}
	}
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, want)
	s := serveTFTP(t, nil, 0)
	if err := put(t.Context(), []string{"--blksize", "1024", src, s.url}, io.Discard); err != nil {
		t.Errorf("put: %v", err)
	}
	if asked := s.requests(); len(asked) != 1 || asked[0].Options.Blksize != 1024 {
		t.Errorf("put asks for %+v", asked)
	}
}

// sluggish takes its time for each read.
type sluggish struct{ *bytes.Reader }

func (s sluggish) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Reader.ReadAt(p, off)
}

var timeLeft = regexp.MustCompile(` \d+:\d\d`)

// The bar knows the whole of a file from the start, its rate and the time left.
func TestTFTPOnATerminal(t *testing.T) {
	want := payload(6 << 20)
	s := serveTFTP(t, sluggish{bytes.NewReader(want)}, int64(len(want)))
	tty, screen := terminal(t)
	shown := make(chan string)
	go func() {
		all, _ := io.ReadAll(screen) // ends with an error when the last tty is closed
		shown <- string(all)
	}()
	if err := get(t.Context(), []string{"--no-verify", "-o", "/dev/null", s.url + "img"}, nil, tty); err != nil {
		t.Error(err)
	}
	tty.Close()
	all := <-shown
	bars := strings.Split(all, "\r")
	n := 0
	for _, bar := range bars {
		if !strings.HasPrefix(bar, "tftp   [") {
			continue
		}
		n++
		if !strings.Contains(bar, "% ") || !strings.Contains(bar, "iB/s ") || !timeLeft.MatchString(bar) {
			t.Errorf("bar %d: %q", n, bar)
		}
	}
	if n < 2 || !strings.Contains(all, "img: 6.0 MiB by tftp in ") {
		t.Errorf("%d bars in %q", n, all)
	}
}
