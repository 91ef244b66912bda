package pull

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A link is a wire between client and server that a test can spoil. It counts
// the bytes that the server sends over one connection.
type link struct {
	mu    sync.Mutex
	after int64 // bytes of one connection after which the fault strikes
	times int   // how many connections it strikes; -1: all
	fault fault
	flip  int64 // the byte of a connection to turn over, -1: none
	down  bool  // nothing passes
	conns map[net.Conn]bool
	hit   func() // is called when the fault strikes, nil: nothing
}

type fault int

const (
	cut   fault = iota // the connection ends as if the server had closed it
	reset              // it ends with RST
	stall              // it falls silent
)

func (f fault) String() string { return [...]string{"cut", "reset", "stall"}[f] }

func newLink() *link { return &link{flip: -1, conns: map[net.Conn]bool{}} }

// spoil lets the fault strike the next connections.
func (l *link) spoil(f fault, after int64, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault, l.after, l.times = f, after, times
}

// onHit has f called when the fault strikes.
func (l *link) onHit(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hit = f
}

// set takes the link down, with all its connections, or up again.
func (l *link) set(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for c := range l.conns {
		if down {
			c.Close()
		}
	}
}

// pass returns how many of n bytes may pass after the sent ones, and what to do
// instead of the rest.
func (l *link) pass(sent int64, p []byte, struck bool) (ok int, hit bool, f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.flip - sent; l.flip >= 0 && i >= 0 && i < int64(len(p)) {
		p[i] ^= 0x10
	}
	if l.times == 0 && !struck || sent+int64(len(p)) <= l.after {
		return len(p), false, 0
	}
	if !struck && l.times > 0 {
		l.times--
	}
	if !struck && l.hit != nil {
		l.hit()
	}
	return int(max(l.after-sent, 0)), true, l.fault
}

// carry joins two connections until one ends.
func (l *link) carry(client, server net.Conn) {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		client.Close()
		server.Close()
		return
	}
	l.conns[client], l.conns[server] = true, true
	l.mu.Unlock()
	gone := make(chan struct{}) // the client is
	go func() {
		io.Copy(server, client)
		server.Close()
		close(gone)
	}()
	defer client.Close()
	defer server.Close()
	buf, sent := make([]byte, 16<<10), int64(0)
	for {
		n, err := server.Read(buf)
		ok, hit, f := l.pass(sent, buf[:n], false)
		m, werr := client.Write(buf[:ok])
		sent += int64(m)
		switch {
		case hit && f == stall:
			<-gone
			return
		case hit && f == reset:
			client.(*net.TCPConn).SetLinger(0)
			return
		case hit || err != nil || werr != nil:
			return
		}
	}
}

// tcpProxy stands before a TCP server and returns its address.
func tcpProxy(t *testing.T, target string, l *link) string {
	return listen(t, "127.0.0.1:0", func(client net.Conn) {
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			return
		}
		l.carry(client, server)
	})
}

// listen serves each connection to addr until the test ends.
func listen(t *testing.T, addr string, serve func(net.Conn)) string {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	})
	return ln.Addr().String()
}

var epsvReply = regexp.MustCompile(`^229 .*\|\|\|(\d+)\|`)

// ftpProxy stands before an FTP server. The link is that of the data
// connections; when it is down the control connection ends too.
func ftpProxy(t *testing.T, target string, l *link) string {
	return listen(t, "127.0.0.1:0", func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer server.Close()
		l.mu.Lock()
		down := l.down
		l.conns[client], l.conns[server] = true, true
		l.mu.Unlock()
		if down {
			return
		}
		go func() {
			io.Copy(server, client)
			server.Close()
		}()
		lines := bufio.NewScanner(server)
		for lines.Scan() {
			line := lines.Text()
			if m := epsvReply.FindStringSubmatch(line); m != nil {
				data := tcpProxy(t, net.JoinHostPort("127.0.0.1", m[1]), l)
				_, port, _ := net.SplitHostPort(data)
				line = fmt.Sprintf("229 Entering Extended Passive Mode (|||%s|)", port)
			}
			fmt.Fprintf(client, "%s\r\n", line)
		}
	})
}

// udpProxy stands before a TFTP server. Datagrams behind the fault are lost.
func udpProxy(t *testing.T, target string, l *link) string {
	front, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { front.Close(); wg.Wait() })
	to, _ := net.ResolveUDPAddr("udp4", target)
	wg.Go(func() {
		flows := map[string]net.PacketConn{}
		buf := make([]byte, 64<<10)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			if l.isDown() || flows[from.String()] != nil {
				continue // the client speaks to the flow's own port from the first answer on
			}
			flow, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				return
			}
			t.Cleanup(func() { flow.SetReadDeadline(time.Now()) })
			flows[from.String()] = flow
			wg.Go(func() { udpFlow(flow, from, l) })
			flow.WriteTo(buf[:n], to)
		}
	})
	return front.LocalAddr().String()
}

// udpFlow carries one transfer: what the client sends goes to the port from
// which the server spoke last.
func udpFlow(flow net.PacketConn, client net.Addr, l *link) {
	var server net.Addr
	buf, sent, struck := make([]byte, 64<<10), int64(0), false
	defer flow.Close()
	for {
		n, from, err := flow.ReadFrom(buf)
		if err != nil {
			if server != nil { // and it need not wait for the client any more
				flow.WriteTo([]byte("\x00\x05\x00\x00the test is over\x00"), server)
			}
			return
		}
		if l.isDown() {
			continue
		}
		if from.String() == client.String() {
			if server != nil && !struck {
				flow.WriteTo(buf[:n], server)
			}
			continue
		}
		server = from
		if _, hit, _ := l.pass(sent, buf[:n], struck); hit {
			struck = true
			continue
		}
		sent += int64(n)
		flow.WriteTo(buf[:n], client)
	}
}

func (l *link) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func portOf(t *testing.T, addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
