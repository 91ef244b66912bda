package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
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
	asked requests
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

// requests are what a server was asked for.
type requests []tftp.Request

// names are those of the files, once each, in order.
func (r requests) names() string {
	var names []string
	for _, one := range r {
		if !slices.Contains(names, one.Name) {
			names = append(names, one.Name)
		}
	}
	return strings.Join(names, " ")
}

func (s *tftpServer) requests() requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// The flags reach the server, in the manifest's request too.
func TestTFTPOptions(t *testing.T) {
	want := payload(5000)
	for _, tt := range []struct {
		name, flags string
		asked       tftp.Options
	}{
		{"get", "", tftp.Options{TSize: true, Blksize: 1428, Windowsize: 64}},
		{"get with both flags", "--blksize 8192 --windowsize 3", tftp.Options{TSize: true, Blksize: 8192, Windowsize: 3}},
		{"get with what holds anyway", "--blksize 512 --windowsize 1", tftp.Options{TSize: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serveTFTP(t, bytes.NewReader(want), int64(len(want)))
			var out bytes.Buffer
			if err := get(t.Context(), append(strings.Fields(tt.flags), "-o", "-", s.url+"img"), &out, io.Discard); err != nil || !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%d bytes, %v", out.Len(), err)
			}
			// A request that was answered late may come again.
			asked := s.requests()
			if names := asked.names(); names != "img.manifest img" {
				t.Errorf("it asks for %s", names)
			}
			for _, r := range asked {
				if r.Options != tt.asked {
					t.Errorf("it asks with %+v", r)
				}
			}
		})
	}
}

// sluggish takes its time for each read.
type sluggish struct{ *bytes.Reader }

func (s sluggish) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Reader.ReadAt(p, off)
}

var timeLeft = regexp.MustCompile(` \d+:\d\d`)

// The bar shows the part of the whole, the rate and the time left.
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
	n, whole := 0, 0
	for _, bar := range bars {
		if !strings.HasPrefix(bar, "tftp   [") {
			continue
		}
		n++
		if !strings.Contains(bar, "% ") {
			t.Errorf("bar %d: %q", n, bar)
		}
		// The first bar may come before there is a rate.
		if strings.Contains(bar, "iB/s ") && timeLeft.MatchString(bar) {
			whole++
		}
	}
	if n < 2 || whole < 1 || !strings.Contains(all, "img: 6.0 MiB by tftp in ") {
		t.Errorf("%d bars in %q", n, all)
	}
}
