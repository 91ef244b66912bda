package ftp

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// A foreign host that reaches the data port first gets nothing, neither now nor
// in the next transfer. The client gets its file.
func TestForeignHostGetsNoData(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("127.0.0.1")
	for range 3 {
		port := c.port()
		thief := &client{Conn: c.Conn, t: t}
		var stolen []net.Conn
		for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			dc, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer dc.Close()
			stolen = append(stolen, dc)
		}
		fmt.Fprint(c, "RETR small\r\n")
		for _, dc := range stolen { // the server waits, with only thieves there
			dc.SetReadDeadline(time.Now().Add(hangGuard))
			if got, err := io.ReadAll(dc); len(got) > 0 || os.IsTimeout(err) {
				t.Errorf("foreign host got %q, %v", got, err)
			}
		}
		dc := thief.connect(port)
		c.want("150")
		got, err := io.ReadAll(dc)
		if err != nil || string(got) != "hello\nworld\r\n" {
			t.Errorf("client got %q, %v", got, err)
		}
		c.want("226")
	}
}

func TestForeignHostAloneEndsTheWait(t *testing.T) {
	f := start(t, loopback, func(s *Server) {
		s.Timing.Data = 300 * time.Millisecond
	})
	c := f.login("127.0.0.1")
	port := c.port()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
	dc, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer dc.Close()
	if reply := c.cmd("425", "RETR small"); !strings.Contains(reply, errNoData.Error()) {
		t.Errorf("reply is %q", reply)
	}
	if got := c.retr("small", 0); len(got) != 13 {
		t.Errorf("next transfer: %d bytes", len(got))
	}
}

func TestPassivePorts(t *testing.T) {
	const from, to = 21100, 21103
	leaks(t, func(t *testing.T) {
		f := start(t, ownHost()+":0", func(s *Server) { s.PassiveFrom, s.PassiveTo = from, to })
		// Many more clients than ports: each is in use only until its client connected.
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				c := f.login("")
				for range 2 {
					port := c.port()
					if port < from || port > to {
						t.Errorf("port %d is not of the range", port)
					}
					dc := c.connect(port)
					c.cmd("150", "RETR small")
					if got, err := io.ReadAll(dc); err != nil || len(got) != 13 {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					c.want("226")
				}
			})
		}
		wg.Wait()
		f.stop()
	})
}

// ownHost is a loopback address that no other test uses, nor its ports.
func ownHost() string { return fmt.Sprintf("127.%d.%d.%d", 1+rand.N(250), rand.N(250), 2+rand.N(250)) }

func TestAllPassivePortsInUse(t *testing.T) {
	const port = 21100
	host := ownHost()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := start(t, host+":0", func(s *Server) {
		s.PassiveFrom, s.PassiveTo = port, port
		s.Timing.Port = 100 * time.Millisecond
	})
	c := f.login("")
	if reply := c.cmd("421", "EPSV"); !strings.Contains(reply, errNoPort.Error()) || strings.Contains(reply, "bind") {
		t.Errorf("reply is %q", reply)
	}
	l.Close()
	if got := c.retr("small", 0); len(got) != 13 {
		t.Errorf("%d bytes", len(got))
	}
}

// The library leaves a listener open for each PASV that it cannot answer.
func TestPassiveListenersDoNotPileUp(t *testing.T) {
	for _, listen := range []string{loopback, "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			f := start(t, listen, nil)
			c := f.login("")
			count := func() int {
				fds, _ := os.ReadDir("/proc/self/fd")
				return len(fds)
			}
			before := count()
			for i := range 50 {
				fmt.Fprint(c, []string{"PASV\r\n", "EPSV\r\n"}[i%2])
				c.want("")
			}
			if n := count(); n > before+4 {
				t.Errorf("%s: %d descriptors after 50 PASV, %d before", listen, n, before)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	f := start(t, "[::1]:0", nil)
	c := f.login("")
	c.cmd("502", "PASV")
	if got := c.retr("big", 7); !bytes.Equal(got, pattern(bigSize)[7:]) {
		t.Errorf("%d bytes", len(got))
	}
	// A listener for both families sees IPv4 clients at mapped addresses.
	f = start(t, ":0", nil)
	_, port, _ := net.SplitHostPort(f.addr)
	f.addr = "127.0.0.1:" + port
	c = f.login("")
	if reply := c.cmd("227", "PASV"); !strings.Contains(reply, "(127,0,0,1,") {
		t.Errorf("PASV names another address than the one that was asked: %q", reply)
	}
	if got := c.retr("small", 0); len(got) != 13 {
		t.Errorf("%d bytes", len(got))
	}
}

// Replies to pipelined commands are whole and in order, whatever is aborted.
func TestPipelinedCommands(t *testing.T) {
	f := start(t, loopback, nil)
	if err := os.Truncate(filepath.Join(f.root, "big"), 64<<20); err != nil {
		t.Fatal(err)
	}
	c := f.login("")
	for range 20 {
		fmt.Fprint(c, "RETR none\r\nABOR\r\nNOPE\r\nSTAT\r\nRETR none\r\nABOR\r\nNOOP\r\n")
		for _, code := range []string{"550", "200", "502", "502", "550", "200", "200"} {
			c.want(code)
		}
	}
	for range 5 {
		dc := c.connect(c.port())
		c.cmd("150", "RETR big")
		fmt.Fprint(c, "\xff\xf4\xff\xf2ABOR\r\nNOOP\r\n") // Telnet's IP and DM
		c.want("426")
		c.want("226")
		c.want("200")
		io.Copy(io.Discard, dc)
	}
	if ev := f.noted(45); !strings.Contains(ev.Text, "broke off") || ev.Bytes >= ev.Total {
		t.Errorf("noted %+v", ev)
	}
	c.cmd("500", "RETR %s", strings.Repeat("x", 3*maxLine))
}

// Each field that is zero gets its default, whatever the others are.
func TestTimingDefaults(t *testing.T) {
	fields := reflect.TypeFor[Timing]()
	for i := range fields.NumField() {
		t.Run(fields.Field(i).Name, func(t *testing.T) {
			var set Timing
			reflect.ValueOf(&set).Elem().Field(i).SetInt(1)
			want := DefaultTiming
			reflect.ValueOf(&want).Elem().Field(i).SetInt(1)
			if got := set.withDefaults(); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
	if got := (Timing{}).withDefaults(); got != DefaultTiming {
		t.Errorf("the zero Timing: %+v", got)
	}
}

func TestTiming(t *testing.T) {
	d := DefaultTiming
	if rate := float64(chunk) / d.Stall.Seconds(); rate > 20e3 {
		t.Errorf("a client must take %.0f B/s, more than a slow link carries", rate)
	}
	if d.Data <= 7*time.Second {
		t.Error("a client whose first three SYNs are lost cannot connect")
	}
	if d.Login <= 7*time.Second {
		t.Error("a client whose login is lost three times is cut off")
	}
	if d.Stop > 1500*time.Millisecond {
		t.Error("Serve promises to end within two seconds")
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"RETR small\r\n", "\xff\xf4\xff\xf2ABOR\r\n", "STAT\r\n", "PASV\n", "port 1,2,3,4,5,6\r\n", "RETR a\rb\r\n", "\r\n", "STAT \x00\n", "\u0130\r\n"} {
		f.Add([]byte(s), true, true)
		f.Add([]byte(s), false, false)
	}
	f.Fuzz(func(t *testing.T, line []byte, ip6, sending bool) {
		if len(line) > maxLine || bytes.IndexByte(line, '\n') != len(line)-1 {
			return
		}
		got := string(filter(bytes.Clone(line), ip6, sending))
		cmd, ok := strings.CutSuffix(got, "\r\n")
		if !ok || strings.ContainsAny(cmd, "\r\n\x00") {
			t.Fatalf("filter(%q) = %q: not one line", line, got)
		}
		verb, arg, _ := strings.Cut(cmd, " ")
		if got != refusedCommand && !allowedCommands[verb] || verb == "STAT" && arg == "" || verb == "PASV" && ip6 || verb == "ABOR" && !sending {
			t.Errorf("filter(%q) = %q", line, got)
		}
		if len(got) > len(line)+3+len(refusedCommand) {
			t.Errorf("filter(%q) = %q: longer", line, got)
		}
	})
}
