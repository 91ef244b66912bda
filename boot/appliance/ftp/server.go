// Package ftp serves the tree by FTP, read-only and to anyone: large images go
// by TCP. The protocol is ftpserverlib's; what bounds clients, and who gets
// the data, is decided here.
package ftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/bootlace/bootlace/boot/appliance/access"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/limit"
)

// Timing holds how long the server waits for whom.
type Timing struct {
	// Login is for a client to say who it is, from its first packet: USER and
	// PASS are two round trips, and a lost packet costs 1, 2 and 4 s.
	Login time.Duration
	// Idle is between two commands, or after a transfer. A device that flashes
	// opens a connection for each file, and a person at a prompt thinks.
	Idle time.Duration
	// Reply is for a client to take the answer to a command, which fits into
	// the socket's buffer unless it stopped reading.
	Reply time.Duration
	// Data is for the client to open a data connection, once asked for a file:
	// a SYN is sent at 0, 1, 3 and 7 s.
	Data time.Duration
	// Port is how long PASV waits where all ports of the range are in use. A
	// port is free again as soon as its client has connected, which takes a
	// round trip.
	Port time.Duration
	// Stall is for the client to take the next chunk: 1 MiB in 60 s is 17 kB/s,
	// slower than any link that an image is sent over.
	Stall time.Duration
	// Stop is for connections to wind up when the server is told to end.
	Stop time.Duration
}

// DefaultTiming is used where Server.Timing is zero.
var DefaultTiming = Timing{
	Login: 15 * time.Second,
	Idle:  2 * time.Minute,
	Reply: 15 * time.Second,
	Data:  10 * time.Second,
	Port:  3 * time.Second,
	Stall: 60 * time.Second,
	Stop:  time.Second,
}

// chunk is what a client must take within Timing.Stall.
const chunk = 1 << 20

// DefaultLimits bounds the clients: a bench of 400 devices with one connection
// each, behind one address where there is a router between.
var DefaultLimits = limit.Bounds{Total: 1024, PerHost: 512}

// Config is what the config says of the server.
type Config struct {
	// PassiveFrom and PassiveTo are the TCP ports of data connections, both
	// included; zero: any.
	PassiveFrom, PassiveTo uint16
}

// A Server serves until told to end. Its fields are set before Serve and not
// changed afterwards.
type Server struct {
	Config
	Tree   *files.Tree
	Access *access.Rules // nil: everyone may read, by the name anonymous

	Log    *slog.Logger // nil: discarded
	Timing Timing
	Limits limit.Bounds // zero: DefaultLimits
}

// Serve answers on a TCP listener, which it closes, until ctx ends, and
// returns nil then, within two seconds. Transfers under way are broken off in
// a way that no client takes for the end of the file.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s = s.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	var clients sync.WaitGroup
	defer waitAtMost(s.Timing.Stop, &clients)
	defer cancel() // before waiting
	conns := &limit.Conns{Bounds: s.Limits.Or(DefaultLimits)}
	accept := conns.Listen(l, func(c net.Conn) {
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		io.WriteString(c, "421 Too many connections, try again later\r\n")
	})
	for {
		c, err := accept.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve FTP: %w", err)
		case err != nil: // out of file descriptors, or a client that left again
			s.Log.Warn("accept FTP client", "error", err)
			time.Sleep(50 * time.Millisecond)
		default:
			clients.Go(func() { s.serve(ctx, c) })
		}
	}
}

func (s *Server) withDefaults() *Server {
	d := *s
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Access == nil {
		d.Access = new(access.Rules)
	}
	if d.Timing == (Timing{}) {
		d.Timing = DefaultTiming
	}
	return &d
}

// serve runs one client. Each gets a library server of its own: that is how a
// callback of the library, which says nothing of the client, knows whose it is.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	n := newSession(ctx, s, c)
	stop := context.AfterFunc(ctx, n.close)
	defer stop()
	lib := ftpserver.NewFtpServer(&driver{session: n})
	if err := lib.ListenAndServe(); err != nil {
		s.Log.Debug("serve FTP client", "client", n.peer, "error", err)
	}
	n.close()
	waitAtMost(s.Timing.Stop, &n.transfers)
}

// waitAtMost waits for a group, but not for a library that hangs.
func waitAtMost(d time.Duration, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// A session is one client's control connection and what hangs on it.
type session struct {
	*Server
	ctx         context.Context // ends with the server; the library hands none on
	who         files.Client
	peer, local netip.Addr
	control     *control
	done        chan struct{} // closed when the session ends
	transfers   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	ended   bool
	ready   bool      // logged in
	active  int       // transfers
	last    time.Time // when something happened
	code    string    // see setCode
	passive *passive
	data    *data
}

func newSession(ctx context.Context, s *Server, c net.Conn) *session {
	n := &session{Server: s, ctx: ctx, peer: limit.Host(c.RemoteAddr()), local: limit.Host(c.LocalAddr()), done: make(chan struct{}), last: time.Now()}
	n.who = files.Client{Addr: n.peer, Via: "ftp"}
	n.control = newControl(n, c)
	return n
}

// close ends the session from whichever side: the client left, the library is
// done with it, the server ends.
func (n *session) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.ended = true
	close(n.done)
	n.control.Conn.Close()
	if n.passive != nil {
		n.passive.Close()
	}
	if n.data != nil {
		n.data.abort()
	}
}

// own takes over a listener or data connection, and reports false where the
// session has ended and nobody would close it.
func (n *session) own(p *passive, d *data) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false
	}
	if p != nil {
		if n.passive != nil {
			// The library forgets one where PASV fails halfway.
			n.passive.Close()
		}
		n.passive = p
	}
	if d != nil {
		n.data = d
	}
	return true
}

// Accept gives the library its one client, and the end once that has left.
func (n *session) Accept() (net.Conn, error) {
	if c := n.control.once(); c != nil {
		return c, nil
	}
	<-n.done
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
}

// Addr and Close make a session the library's net.Listener.
func (n *session) Addr() net.Addr { return n.control.LocalAddr() }

// Close ends the session.
func (n *session) Close() error {
	n.close()
	return nil
}
