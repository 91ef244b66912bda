package upload

import (
	"io"
	"net"
	"os"
	"time"

	pin "github.com/pin/tftp/v3"
)

// A TestingT is a *testing.T or *testing.B, whose package is not in the binary.
type TestingT interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// ServeFolder serves a folder by pin/tftp on loopback until a test ends, and
// takes what is new there. It returns its address. A lost packet costs it
// timeout. It is for tests that want another implementation as their peer.
// It waits half a minute for a client: on a busy machine one may be silent for
// a while.
func ServeFolder(t TestingT, dir string, timeout time.Duration) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := pin.NewServer(func(name string, rf io.ReaderFrom) error {
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = rf.ReadFrom(f)
		return err
	}, func(name string, wt io.WriterTo) error {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = wt.WriteTo(f)
		return err
	})
	s.SetBackoff(func(int) time.Duration { return 0 })
	s.SetTimeout(timeout)
	s.SetRetries(int(30 * time.Second / timeout))
	done := make(chan error, 1)
	go func() { done <- s.Serve(conn) }()
	t.Cleanup(func() { s.Shutdown(); <-done; root.Close() })
	return conn.LocalAddr().String()
}
