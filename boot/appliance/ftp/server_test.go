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
		c.step(fmt.Sprintf("%s from %d", tt.name, tt.offset), func(t *testing.T) {
			if i%2 == 1 {
				c.cmd("200", "TYPE A") // whatever a client thinks an image is
			} else {
				c.cmd("200", "TYPE I")
			}
			if got := c.retr(tt.name, tt.offset); !bytes.Equal(got, tt.want) {
				t.Errorf("%d bytes, want %d", len(got), len(tt.want))
			}
			ev := f.noted(i + 1)
			if ev.Kind != boot.KindServe || ev.Proto != "ftp" || ev.Bytes != int64(len(tt.want)) || ev.Total != int64(len(tt.want)+tt.offset) ||
				!strings.HasPrefix(ev.Text, tt.text) || ev.Took <= 0 || f.froms[i] != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("noted %+v", ev)
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
		c.step(tt[0], func(t *testing.T) {
			if got := c.cmd("", "%s", tt[0]); got != tt[1] {
				t.Errorf("%q, want %q", got, tt[1])
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
		c.step(tt[0], func(t *testing.T) {
			dc := c.connect(c.port())
			c.cmd("150", "%s", tt[0])
			got, err := io.ReadAll(dc)
			c.want("226")
			if err != nil || !strings.HasPrefix(string(got), tt[1]) || strings.Contains(string(got), "hidden") {
				t.Errorf("%q, %v, want %q", got, err, tt[1])
			}
		})
	}
	if feat := c.cmd("211", "FEAT"); !strings.Contains(feat, " REST STREAM") || strings.Contains(feat, "MFMT") || strings.Contains(feat, "TLS") {
		t.Errorf("FEAT: %s", feat)
	}
}

// Names that must not leave the tree, nor tell what is beside it.
func TestHostileNames(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	for _, name := range []string{
		"../secret", "../../../../etc/passwd", "/etc/passwd", "/../secret", "sub/../../secret", `..\secret`, `sub\..\..\secret`,
		"escape", "up", "up/secret", "up/root/small", ".key", ".hidden/x", ".hidden", "sub/../.key", `\.key`, "/proc/self/environ",
		"small\x00", "small\rQUIT", "\x1b[2J", "\xff\xfe", "small/", "small/x", "sub", "/", ".", "..", "", "~", "~root/x",
		"*", "|id", "`id`", "$(id)", "-la", "%2e%2e/secret", strings.Repeat("a", 300), strings.Repeat("a/", 900), f.root + "/small",
	} {
		for _, verb := range []string{"RETR", "SIZE", "MDTM", "MLST", "STAT"} {
			if name == "small/" || verb != "RETR" && verb != "SIZE" && (name == "/" || name == "." || name == ".." || name == "" || name == "sub" || name == "up/..") {
				continue // says "folder", or is the file
			}
			c.step(fmt.Sprintf("%s %.60q", verb, name), func(t *testing.T) {
				reply := c.cmd("", "%s %s", verb, name)
				if reply[0] != '5' && reply[0] != '4' {
					t.Errorf("%q", reply)
				}
				for _, leak := range []string{"outside", "openat", "no such file or directory", "too many", "not permitted"} {
					if strings.Contains(reply, leak) {
						t.Errorf("reply has %q: %q", leak, reply)
					}
				}
				if !strings.Contains(name, f.root) && strings.Contains(reply, filepath.Dir(f.root)) {
					t.Errorf("reply has a host path: %q", reply)
				}
			})
		}
	}
	if got := c.retr("small", 0); string(got) != "hello\nworld\r\n" {
		t.Errorf("after that, RETR small: %q", got)
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	before := tree(t, f.root)
	for _, tt := range [][2]string{
		{"STOR new", "553"}, {"STOR small", "553"}, {"APPE small", "553"}, {"DELE small", "550"}, {"MKD d", "550"}, {"XMKD d", "550"},
		{"RMD sub", "550"}, {"RNFR small", "550"}, {"RNTO other", "503"}, {"MFMT 20260101000000 small", "550"},
		{"STOU", "502"}, {"SITE CHMOD 777 small", "502"}, {"SITE RMDIR sub", "502"}, {"COMB new small", "502"}, {"ALLO 5", "502"},
		{"PORT 127,0,0,1,0,21", "502"}, {"EPRT |1|127.0.0.1|21|", "502"}, {"AUTH TLS", "502"}, {"PROT P", "502"}, {"MODE Z", "504"},
		{"HASH small", "502"}, {"XSHA256 small", "502"}, {"NONSENSE", "502"}, {"STAT", "502"}, {"XSEM", "502"}, {"", "502"}, {"RETRsmall", "502"},
	} {
		c.step(tt[0], func(t *testing.T) {
			c.connect(c.port())
			c.cmd(tt[1], "%s", tt[0])
		})
	}
	c.cmd("350", "REST 1")
	c.cmd("553", "STOR small")
	if after := tree(t, f.root); after != before {
		t.Errorf("tree was\n%sand is\n%s", before, after)
	}
}

func tree(t *testing.T, root string) (all string) {
	filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		all += fmt.Sprintln(path, info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	return all
}

func TestLogin(t *testing.T) {
	f := start(t, loopback, nil)
	for _, user := range []string{"root", "admin", ""} {
		t.Run(fmt.Sprintf("%q", user), func(t *testing.T) {
			c := f.dial("")
			c.want("220")
			c.cmd("530", "RETR small")
			c.cmd("331", "USER %s", user)
			c.cmd("530", "PASS x")
			if _, err := c.in.ReadByte(); err == nil {
				t.Error("may go on")
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
		c.step("REST "+tt[0], func(t *testing.T) {
			dc := c.connect(c.port())
			c.cmd("350", "REST %s", tt[0])
			c.cmd(tt[1], "RETR small")
			dc.Close()
		})
	}
	dc := c.connect(c.port())
	c.cmd("550", "RETR none") // the code of before is not kept
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
				case 1: // leaves in mid-transfer
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
