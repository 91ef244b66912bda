package ftp

import (
	"cmp"
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

// Timing holds how long the server waits. A zero field means that of
// DefaultTiming.
type Timing struct {
	// Login is for the client to log in, from its first packet. USER and PASS
	// are two round trips. A lost packet costs 1, 2 and 4 s.
	Login time.Duration
	// Idle is for the next command, also after a transfer. A device that
	// flashes opens a connection for each file. A person at a prompt takes time
	// to think.
	Idle time.Duration
	// Reply is for the client to take a reply. It fits into the socket's buffer
	// unless the client stopped reading.
	Reply time.Duration
	// Data is for the client to open a data connection after RETR. It sends its
	// SYN at 0, 1, 3 and 7 s.
	Data time.Duration
	// Port is how long PASV waits if all ports of the range are in use. A port
	// is free again once its client has connected. That takes a round trip.
	Port time.Duration
	// Stall is for the client to take the next chunk. 1 MiB in 60 s is 17 kB/s.
	// Any link that carries images is faster.
	Stall time.Duration
	// Stop is for connections to end when the server ends.
	Stop time.Duration
}

// DefaultTiming has the value of each field that Server.Timing leaves at zero.
var DefaultTiming = Timing{
	Login: 15 * time.Second,
	Idle:  2 * time.Minute,
	Reply: 15 * time.Second,
	Data:  10 * time.Second,
	Port:  3 * time.Second,
	Stall: 60 * time.Second,
	Stop:  time.Second,
}

// withDefaults replaces each zero field by that of DefaultTiming.
func (t Timing) withDefaults() Timing {
	d := DefaultTiming
	return Timing{
		Login: cmp.Or(t.Login, d.Login),
		Idle:  cmp.Or(t.Idle, d.Idle),
		Reply: cmp.Or(t.Reply, d.Reply),
		Data:  cmp.Or(t.Data, d.Data),
		Port:  cmp.Or(t.Port, d.Port),
		Stall: cmp.Or(t.Stall, d.Stall),
		Stop:  cmp.Or(t.Stop, d.Stop),
	}
}

// chunk is how many bytes a client must take within Timing.Stall.
const chunk = 1 << 20

// DefaultLimits bounds the clients. It suits a bench of 400 devices with one
// connection each. Behind a router they may share one address.
var DefaultLimits = limit.Bounds{Total: 1024, PerHost: 512}

// Config holds the settings of the server.
type Config struct {
	// PassiveFrom and PassiveTo are the first and last TCP port of data
	// connections. Zero means any port.
	PassiveFrom, PassiveTo uint16
}

// A Server answers FTP clients. Its fields are set before Serve and not changed
// afterwards.
type Server struct {
	Config
	Tree   *files.Tree
	Access *access.Rules // nil: anonymous clients may read

	Log    *slog.Logger // nil: discarded
	Timing Timing
	Limits limit.Bounds // zero: DefaultLimits
}

// Serve answers clients on a TCP listener, and closes it. It returns nil within
// two seconds after ctx ends. It resets transfers that are not finished. So no
// client takes a part for the whole file.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s = s.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	var clients sync.WaitGroup
	defer waitAtMost(s.Timing.Stop, &clients)
	defer cancel() // cancel first, then wait
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
		case err != nil: // out of file descriptors, or the client left
			s.Log.Warn("accept FTP client", "err", err)
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
	d.Timing = d.Timing.withDefaults()
	return &d
}

// serve answers one client. Each client has a library server of its own. A
// callback of the library does not say which client it is for, so its server
// does.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	n := newSession(ctx, s, c)
	stop := context.AfterFunc(ctx, n.end)
	defer stop()
	lib := ftpserver.NewFtpServer(&driver{session: n})
	if err := lib.ListenAndServe(); err != nil {
		s.Log.Debug("serve FTP client", "client", n.clientAddr, "err", err)
	}
	n.end()
	waitAtMost(s.Timing.Stop, &n.transfers)
}

// waitAtMost waits for a group, but at most d: the library may hang.
func waitAtMost(d time.Duration, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// A session is one client's control connection and its data connections.
type session struct {
	*Server
	ctx                    context.Context // ends with the server; the library passes no context
	asClient               files.Client
	clientAddr, serverAddr netip.Addr
	control                *controlConn
	done                   chan struct{} // closed when the session ends
	transfers              sync.WaitGroup

	mu              sync.Mutex // guards what follows
	ended           bool
	loggedIn        bool
	activeTransfers int       // begun and not closed
	lastActivity    time.Time // of the client
	replyCode       string    // replaces the next 550, see setReplyCode
	listener        *passiveListener
	dataConn        *dataConn
}

func newSession(ctx context.Context, s *Server, c net.Conn) *session {
	n := &session{Server: s, ctx: ctx, clientAddr: limit.Host(c.RemoteAddr()), serverAddr: limit.Host(c.LocalAddr()), done: make(chan struct{}), lastActivity: time.Now()}
	n.asClient = files.Client{Addr: n.clientAddr, Via: "ftp"}
	n.control = newControlConn(n, c)
	return n
}

// end ends the session, whichever side began: the client, the library or the
// server.
func (n *session) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.ended = true
	close(n.done)
	n.control.Conn.Close()
	if n.listener != nil {
		n.listener.Close()
	}
	if n.dataConn != nil {
		n.dataConn.abort()
	}
}

// adopt makes the session close a listener or data connection when it ends. It
// reports false if the session has ended already.
func (n *session) adopt(p *passiveListener, d *dataConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false
	}
	if p != nil {
		if n.listener != nil {
			// The library forgets its listener if PASV fails halfway.
			n.listener.Close()
		}
		n.listener = p
	}
	if d != nil {
		n.dataConn = d
	}
	return true
}

// Accept returns the session's one client. The next call returns net.ErrClosed
// once that client has left.
func (n *session) Accept() (net.Conn, error) {
	if c := n.control.takeOnce(); c != nil {
		return c, nil
	}
	<-n.done
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
}

// A session is the net.Listener of the library's server.
func (n *session) Addr() net.Addr { return n.control.LocalAddr() }

// Close ends the session.
func (n *session) Close() error {
	n.end()
	return nil
}
