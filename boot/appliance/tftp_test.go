package appliance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp"
)

// The config's settings reach the server. Its open files are a share of the
// budget.
func TestTFTPSettings(t *testing.T) {
	a := newAppliance(t)
	if s := a.tftpServer(); s.SinglePort || s.RollToOne || s.Fragments || s.Limits != (tftp.Limits{Files: a.budget.share(tftpFiles)}) {
		t.Errorf("without any: %+v, %+v", s, s.Limits)
	}
	a.cfg.TFTP.SinglePort, a.cfg.TFTP.RollToOne, a.cfg.TFTP.Fragments = true, true, true
	a.cfg.TFTP.Limits = tftp.Limits{Blksize: 1024, Windowsize: 16, Transfers: 9, PerClient: 8, HalfOpen: 7}
	want := a.cfg.TFTP.Limits
	want.Files = a.budget.share(tftpFiles)
	if s := a.tftpServer(); !s.SinglePort || !s.RollToOne || !s.Fragments || s.Limits != want {
		t.Errorf("with all: %+v, %+v", s, s.Limits)
	}
}

// Refused requests are logged once, at the end, and only if there were any.
func TestTFTPRefusals(t *testing.T) {
	for _, clients := range []int{1, 3} {
		t.Run(fmt.Sprint(clients, " clients"), func(t *testing.T) {
			a := newAppliance(t)
			var log bytes.Buffer
			a.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
			a.cfg.TFTP.Limits.Transfers = 1
			conn := a.sockets["tftp"].packets
			at := conn.LocalAddr()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.serveTFTP(conn)(ctx) }()
			for i := range clients {
				c, err := net.ListenPacket("udp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				buf := make([]byte, 600)
				ask := func(p string, to net.Addr, want byte) net.Addr {
					t.Helper()
					if _, err := c.WriteTo([]byte(p), to); err != nil {
						t.Fatal(err)
					}
					n, from, err := c.ReadFrom(buf)
					if err != nil || n < 4 || buf[1] != want {
						t.Fatalf("client %d: got %q, %v", i, buf[:n], err)
					}
					return from
				}
				if i == 0 {
					from := ask("\x00\x01lab.raw\x00octet\x00", at, 3)
					ask("\x00\x04\x00\x01", from, 3) // the transfer is confirmed
					continue
				}
				ask("\x00\x01lab.raw\x00octet\x00", at, 5)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			told := strings.Count(log.String(), `msg="TFTP had more requests than its limits allow" served=1 refused=2 "gave way"=0`)
			if want := clients / 3; told != want {
				t.Errorf("%d clients: told %d times, want %d:\n%s", clients, told, want, log.String())
			}
		})
	}
}

// The journal says what was sent with which options, or why not.
func TestTFTPText(t *testing.T) {
	r := tftp.Result{Request: tftp.Request{Name: "f"}, Bytes: 9, Took: 1234567, Resent: 2}
	r.Granted = tftp.Options{Blksize: 1468, Windowsize: 4, Timeout: 5 * time.Second}
	upload := tftp.Result{Request: tftp.Request{Name: "f", Write: true}, Bytes: 9}
	for want, r := range map[string]tftp.Result{
		"tftp: sent f, 9 bytes in 1ms, blksize 1468, windowsize 4, timeout 5, 2 packets again": r,
		"tftp: took f, 9 bytes in 0s":                      upload,
		"tftp: told the size of f":                         {Request: tftp.Request{Name: "f"}, Probe: true},
		"tftp: f: " + io.EOF.Error() + ", after 512 bytes": {Request: tftp.Request{Name: "f"}, Bytes: 512, Err: io.EOF},
	} {
		t.Run(want, func(t *testing.T) {
			if got := "tftp: " + tftpOutcome(r).Text; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
