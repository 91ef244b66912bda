package ftp

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/nettest"
)

var here = netip.MustParseAddrPort("192.0.2.9:1024")

// idle runs f in a bubble with a client that has read the greeting, in the
// second in which it connected.
func idle(t *testing.T, f func(t *testing.T, c *client)) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		ended := make(chan bool)
		go func() {
			new(Server).withDefaults().serve(t.Context(), addrConn{ours})
			close(ended)
		}()
		defer func() { theirs.Close(); <-ended }()
		c := &client{theirs, t, bufio.NewReader(theirs)}
		c.want("220")
		f(t, c)
	})
}

// wantEnd waits until the server ends the connection, which it must do after
// exactly that time.
func (c *client) wantEnd(after time.Duration, why string) {
	c.t.Helper()
	began := time.Now()
	if reply := c.want("421"); !strings.Contains(reply, why) || time.Since(began) != after {
		c.t.Errorf("after %v %q, want %q after %v", time.Since(began), reply, why, after)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		c.t.Errorf("then %v, want the end", err)
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	d := DefaultTiming
	t.Run("says nothing", func(t *testing.T) {
		idle(t, func(t *testing.T, c *client) { c.wantEnd(d.Login, "Login takes too long") })
	})
	t.Run("says not enough, however busily", func(t *testing.T) {
		idle(t, func(t *testing.T, c *client) {
			for range d.Login/time.Second - 1 {
				time.Sleep(time.Second)
				c.cmd("200", "NOOP")
			}
			c.wantEnd(time.Second, "Login takes too long")
		})
	})
	t.Run("does nothing after the login", func(t *testing.T) {
		idle(t, func(t *testing.T, c *client) {
			c.cmd("331", "USER anonymous")
			c.cmd("230", "PASS x@")
			for range 3 {
				time.Sleep(d.Idle - 1)
				c.cmd("200", "NOOP")
			}
			c.wantEnd(d.Idle, "Nothing was asked for too long")
		})
	})
}

// A transfer may take longer than a client may be idle, and the client may be
// idle after it.
func TestLongTransferOutlivesIdle(t *testing.T) {
	f := start(t, loopback, nil) // for its tree
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		n := newSession(t.Context(), (&Server{Tree: f.tree, Timing: DefaultTiming}).withDefaults(), addrConn{ours})
		n.loggedIn = true
		file, err := f.tree.Open(t.Context(), files.Client{}, "small")
		if err != nil {
			t.Fatal(err)
		}
		tr := n.newTransfer(file)
		go func() {
			n.control.readCommand()
			n.end()
		}()
		time.Sleep(10*DefaultTiming.Idle + DefaultTiming.Idle/2)
		if tr.Close(); n.isEnded() {
			t.Fatal("cut off in mid-transfer")
		}
		c := &client{theirs, t, bufio.NewReader(theirs)}
		c.wantEnd(DefaultTiming.Idle, "Nothing was asked for too long")
	})
}

// addrConn is a pipe with addresses.
type addrConn struct{ net.Conn }

func (addrConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(nettest.MemoryAddr) }
func (addrConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(here) }

// Nobody who hangs keeps Serve from its end.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs sync.WaitGroup
		hangs.Add(1)
		began := time.Now()
		waitAtMost(DefaultTiming.Stop, &hangs)
		if took := time.Since(began); took != DefaultTiming.Stop {
			t.Errorf("waited %v", took)
		}
		hangs.Done()
	})
}
