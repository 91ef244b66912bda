package ftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/limit"
)

func TestRetr(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	all := pattern(bigSize)
	for i, tt := range []struct {
		name   string
		offset int
		want   []byte
		text   string
	}{
		{"small", 0, []byte("hello\nworld\r\n"), "ftp: sent small, 13 bytes in "},
		{"/small", 5, []byte("\nworld\r\n"), "ftp: sent small, bytes 5-12/13 in "},
		{"/small", 13, nil, "ftp: sent small, bytes 13-12/13 in "},
		{`sub\deep\x y`, 0, []byte("spaced"), "ftp: sent sub/deep/x y, 6 bytes in "},
		{"inside", 0, []byte("hello\nworld\r\n"), "ftp: sent inside, 13 bytes in "},
		{"empty", 0, nil, "ftp: sent empty, 0 bytes in "},
		{"plan/made", 4, []byte("127.0.0.1"), "ftp: sent plan/made, bytes 4-12/13 in "},
		{"big", 0, all, fmt.Sprintf("ftp: sent big, %d bytes in ", bigSize)},
		{"big", chunk + 1, all[chunk+1:], fmt.Sprintf("ftp: sent big, bytes %d-%d/%d in ", chunk+1, bigSize-1, bigSize)},
	} {
		f.run(fmt.Sprintf("%s from %d", tt.name, tt.offset), c, func(t *testing.T) {
			if i%2 == 1 {
				c.cmd("200", "TYPE A") // an image is binary all the same
			} else {
				c.cmd("200", "TYPE I")
			}
			if got := c.retr(tt.name, tt.offset); !bytes.Equal(got, tt.want) {
				t.Errorf("RETR %s from %d: %d bytes, want %d", tt.name, tt.offset, len(got), len(tt.want))
			}
			ev := f.noted(i + 1)
			if ev.Kind != boot.KindServe || ev.Proto != "ftp" || ev.Bytes != int64(len(tt.want)) || ev.Total != int64(len(tt.want)+tt.offset) ||
				!strings.HasPrefix(ev.Text, tt.text) || ev.Took <= 0 || f.froms[i] != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("RETR %s from %d: noted %+v", tt.name, tt.offset, ev)
			}
		})
	}
	c.cmd("221", "QUIT")
}

func TestMetadata(t *testing.T) {
	f := start(t, loopback, nil)
	mod := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(f.root, "small"), mod, mod); err != nil {
		t.Fatal(err)
	}
	c := f.login("")
	for _, tt := range [][2]string{
		{"SIZE small", "213 13\r\n"}, {"MDTM small", "213 20260203040506\r\n"}, {"SYST", "215 UNIX Type: L8\r\n"}, {"NOOP", "200 OK\r\n"},
		{"CWD sub", "250 CD worked on /sub\r\n"}, {"SIZE deep/x y", "213 6\r\n"}, {"SIZE ../small", "213 13\r\n"}, {"CDUP", "250 CDUP worked on /\r\n"},
		{"PWD", "257 \"/\" is the current directory\r\n"},
	} {
		f.run(tt[0], c, func(t *testing.T) {
			if got := c.cmd("", "%s", tt[0]); got != tt[1] {
				t.Errorf("%s: %q, want %q", tt[0], got, tt[1])
			}
		})
	}
	for _, tt := range [][2]string{
		{"NLST", "big\r\nempty\r\ninside\r\nsmall\r\nsub\r\n"},
		{"NLST sub/deep", "sub/deep/x y\r\n"},
		{"MLSD sub/deep", "Type=file;Size=6;Modify="},
		{"LIST -la small", "-r--r--r-- 1 ftp ftp           13 "},
		{"LIST sub", "dr-xr-xr-x 1 ftp ftp "},
	} {
		f.run(tt[0], c, func(t *testing.T) {
			dc := c.connect(c.port())
			c.cmd("150", "%s", tt[0])
			got, err := io.ReadAll(dc)
			c.want("226")
			if err != nil || !strings.HasPrefix(string(got), tt[1]) || strings.Contains(string(got), "hidden") {
				t.Errorf("%s: %q, %v, want %q", tt[0], got, err, tt[1])
			}
		})
	}
	if feat := c.cmd("211", "FEAT"); !strings.Contains(feat, " REST STREAM") || strings.Contains(feat, "MFMT") || strings.Contains(feat, "TLS") {
		t.Errorf("FEAT: %s", feat)
	}
}

func TestLogin(t *testing.T) {
	f := start(t, loopback, nil)
	for _, user := range []string{"root", "admin", ""} {
		f.run("user "+user, nil, func(t *testing.T) {
			c := f.dial("")
			c.want("220")
			c.cmd("530", "RETR small")
			c.cmd("331", "USER %s", user)
			c.cmd("530", "PASS x")
			if _, err := c.in.ReadByte(); err == nil {
				t.Errorf("user %q may go on", user)
			}
		})
	}
	c := f.dial("")
	c.want("220")
	c.cmd("331", "USER FTP")
	c.cmd("230", "PASS")
}

func TestRestartPoints(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	for _, tt := range [][2]string{{"14", "554"}, {"-1", "554"}, {"9223372036854775807", "554"}} {
		f.run("REST "+tt[0], c, func(t *testing.T) {
			dc := c.connect(c.port())
			c.cmd("350", "REST %s", tt[0])
			c.cmd(tt[1], "RETR small")
			dc.Close()
		})
	}
	dc := c.connect(c.port())
	c.cmd("550", "RETR none") // the last code is not used again
	if reply := c.cmd("451", "RETR plan/broken"); strings.Contains(reply, "/dev") {
		t.Errorf("reply has the cause: %q", reply)
	}
	dc.Close()
	c.cmd("550", "REST x")
	c.cmd("550", "REST 9223372036854775808")
	if got := c.retr("small", 0); len(got) != 13 {
		t.Errorf("a refused restart point is kept: %d bytes", len(got))
	}
}

func TestClientsAreBounded(t *testing.T) {
	f := start(t, loopback, func(s *Server) { s.Limits = limit.Bounds{Total: 3, PerHost: 2} })
	a, b := f.login("127.0.0.2"), f.login("127.0.0.2")
	f.dial("127.0.0.2").want("421")
	f.login("127.0.0.3")
	f.dial("127.0.0.4").want("421")
	if got := b.retr("small", 0); len(got) != 13 {
		t.Error("a client that was there is disturbed")
	}
	a.Close()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c := f.dial("127.0.0.4")
		if line, _ := c.in.ReadString('\n'); strings.HasPrefix(line, "220") {
			return
		}
		c.Close()
	}
	t.Error("no client is taken after one left")
}

// A client asks for a file and does not connect.
func TestNoDataConnection(t *testing.T) {
	f := start(t, loopback, func(s *Server) { s.Timing.Data = 100 * time.Millisecond })
	c := f.login("")
	c.port()
	c.cmd("425", "RETR small")
	if ev := f.noted(1); ev.Bytes != 0 || !strings.HasSuffix(ev.Text, errNoData.Error()) {
		t.Errorf("noted %+v", ev)
	}
}

// A client connects and takes nothing.
func TestStalledClientIsCutOff(t *testing.T) {
	f := start(t, loopback, func(s *Server) { s.Timing.Stall = 300 * time.Millisecond })
	if err := os.Truncate(filepath.Join(f.root, "big"), 64<<20); err != nil {
		t.Fatal(err)
	}
	c := f.login("")
	dc := c.connect(c.port())
	c.cmd("150", "RETR big")
	if reply := c.want("426"); !strings.Contains(reply, errStalled.Error()) || strings.Contains(reply, "i/o timeout") {
		t.Errorf("reply is %q", reply)
	}
	if ev := f.noted(1); !strings.HasSuffix(ev.Text, errStalled.Error()) || ev.Bytes >= ev.Total {
		t.Errorf("noted %+v", ev)
	}
	if _, err := io.Copy(io.Discard, dc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("what came ends in %v, want a reset", err)
	}
}

func TestFileBecomesShorter(t *testing.T) {
	f := start(t, loopback, nil)
	big := filepath.Join(f.root, "big")
	if err := os.Truncate(big, 64<<20); err != nil {
		t.Fatal(err)
	}
	c := f.login("")
	dc := c.connect(c.port())
	c.cmd("150", "RETR big")
	if _, err := io.ReadFull(dc, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 32<<20); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, dc)
	if reply := c.want("451"); !strings.Contains(reply, errShort.Error()) {
		t.Errorf("reply is %q", reply)
	}
}

func TestManyClientsLeaveNothing(t *testing.T) {
	leaks(t, func(t *testing.T) {
		f := start(t, loopback, nil)
		all := pattern(bigSize)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				c := f.login("")
				if got := c.retr("big", chunk+i); !bytes.Equal(got, all[chunk+i:]) {
					t.Errorf("client %d got %d bytes", i, len(got))
				}
				switch i % 4 {
				case 0:
					c.cmd("221", "QUIT")
				case 1: // leaves during the transfer
					dc := c.connect(c.port())
					c.cmd("150", "RETR big")
					dc.Read(make([]byte, 1))
					dc.Close()
					c.Close()
				case 2: // leaves before the data connection
					c.port()
					fmt.Fprint(c, "RETR big\r\n")
					c.Close()
				case 3:
					c.port()
					c.port()
				}
			})
		}
		wg.Wait()
		f.stop()
	})
}

func TestDataConnectionBreaks(t *testing.T) {
	f := start(t, loopback, nil)
	if err := os.Truncate(filepath.Join(f.root, "big"), 64<<20); err != nil {
		t.Fatal(err)
	}
	c := f.login("")
	dc := c.connect(c.port())
	c.cmd("150", "RETR big")
	dc.Read(make([]byte, 1))
	dc.Close()
	if reply := c.want("426"); !strings.Contains(reply, errBroken.Error()) || strings.Contains(reply, "127.0.0.1") {
		t.Errorf("reply is %q", reply)
	}
	if ev := f.noted(1); !strings.HasSuffix(ev.Text, errBroken.Error()) || ev.Bytes == 0 || ev.Bytes >= ev.Total {
		t.Errorf("noted %+v", ev)
	}
	if got := c.retr("small", 0); len(got) != 13 {
		t.Error("the next transfer fails")
	}
}

func TestEndsInMidTransfer(t *testing.T) {
	leaks(t, func(t *testing.T) {
		f := start(t, loopback, nil)
		if err := os.Truncate(filepath.Join(f.root, "big"), 64<<20); err != nil {
			t.Fatal(err)
		}
		c, waits, idle := f.login(""), f.login(""), f.login("")
		dc := c.connect(c.port())
		c.cmd("150", "RETR big")
		waits.port()
		fmt.Fprint(waits, "RETR small\r\n")
		dc.Read(make([]byte, 1))
		f.stop()
		if n, err := io.Copy(io.Discard, dc); err == nil || n >= 64<<20 {
			t.Errorf("%d bytes, then an ordinary end", n)
		}
		if ev := f.noted(1); !strings.HasSuffix(ev.Text, errEnding.Error()) && !strings.HasSuffix(ev.Text, errNoData.Error()) {
			t.Errorf("noted %+v", ev)
		}
		if _, err := idle.in.ReadByte(); err == nil {
			t.Error("a client at rest is still connected")
		}
	})
}
