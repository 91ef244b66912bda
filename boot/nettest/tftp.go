package nettest

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
)

// TFTP serves a folder by pin/tftp on loopback until the test ends, takes what
// is new there, and returns its address. A lost packet costs it timeout. It
// waits half a minute for a client: on a busy machine one may be silent for a
// while.
func TFTP(t testing.TB, dir string, timeout time.Duration) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := tftp.NewServer(func(name string, rf io.ReaderFrom) error {
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
