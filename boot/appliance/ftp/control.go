package ftp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/bootlace/bootlace/boot/appliance/files"
)

// maxLine bounds a command in bytes. The library writes a reply that repeats
// the command at once, see Write.
const maxLine = 2048

// allowedCommands are the commands that reach the library. These read files, or
// get a better reply than a bare 502. PORT and EPRT are missing. So nobody can
// have data sent to another host (RFC 2577 section 3). STAT without a name is
// refused in filter, since the library runs it during a transfer.
var allowedCommands = map[string]bool{
	"USER": true, "PASS": true, "QUIT": true, "ABOR": true, "NOOP": true, "FEAT": true, "SYST": true, "OPTS": true, "CLNT": true,
	"TYPE": true, "MODE": true, "PASV": true, "EPSV": true, "REST": true, "RETR": true,
	"SIZE": true, "MDTM": true, "NLST": true, "LIST": true, "MLSD": true, "MLST": true,
	"CWD": true, "XCWD": true, "PWD": true, "XPWD": true, "CDUP": true, "STAT": true,
	"STOR": true, "APPE": true, "DELE": true, "MKD": true, "XMKD": true, "RMD": true, "XRMD": true,
	"RNFR": true, "RNTO": true, "MFMT": true,
}

// refusedCommand is a command that the library answers with 502.
const refusedCommand = "XSEM\r\n"

// A controlConn is the control connection that the library reads and writes.
// Read returns one allowed command at a time, each a whole line. It returns
// io.EOF once the client is idle for too long. The library sets no deadlines of
// its own.
type controlConn struct {
	net.Conn
	session  *session
	accepted atomic.Bool // Accept has returned it to the library

	// Only the library's reading goroutine uses these.
	in      *bufio.Reader
	partial []byte // start of a line, from before a deadline
	unread  []byte // rest of the command that the library reads

	mu           sync.Mutex
	replyPending bool          // the library has not replied to its last command
	transferring bool          // a transfer began (1xx) and has no final reply yet
	replied      chan struct{} // signals that replyPending became false
}

func newControlConn(n *session, c net.Conn) *controlConn {
	return &controlConn{Conn: c, session: n, in: bufio.NewReaderSize(c, maxLine),
		replyPending: true, replied: make(chan struct{}, 1)} // the greeting comes first
}

// takeOnce returns the connection at its first call, and later nil.
func (c *controlConn) takeOnce() net.Conn {
	if c.accepted.Swap(true) {
		return nil
	}
	return c
}

// Read returns the next command. It first waits for the reply to the last one.
// The library reads on while a transfer begins, and would write two replies at
// once.
func (c *controlConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		if !c.awaitReply() {
			return 0, io.EOF
		}
		line, err := c.readCommand()
		if err != nil {
			return 0, err
		}
		c.mu.Lock()
		c.replyPending = true
		sending := c.transferring
		c.mu.Unlock()
		c.unread = filter(line, c.session.serverAddr.Is6(), sending)
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *controlConn) awaitReply() bool {
	for {
		c.mu.Lock()
		waiting := c.replyPending
		c.mu.Unlock()
		if !waiting {
			return true
		}
		select {
		case <-c.replied:
		case <-c.session.done:
			return false
		}
	}
}

// readCommand reads one line, with its line feed.
func (c *controlConn) readCommand() ([]byte, error) {
	c.partial = c.partial[:0]
	for {
		deadline, _ := c.session.deadline()
		c.Conn.SetReadDeadline(deadline)
		frag, err := c.in.ReadSlice('\n')
		c.partial = append(c.partial, frag...)
		switch {
		case len(c.partial) > maxLine || errors.Is(err, bufio.ErrBufferFull):
			c.sendLast("500 Command is too long")
			return nil, io.EOF
		case err == nil:
			c.session.noteActivity()
			return c.partial, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, io.EOF
		}
		// A transfer may have extended the deadline meanwhile.
		if later, reason := c.session.deadline(); !later.After(time.Now()) {
			c.sendLast(reason)
			return nil, io.EOF
		}
	}
}

// sendLast sends the last reply of a connection that ends.
func (c *controlConn) sendLast(line string) {
	c.Conn.SetWriteDeadline(time.Now().Add(c.session.Timing.Reply))
	io.WriteString(c.Conn, line+"\r\n")
}

// filter returns the line that the library gets. A client that aborts sends
// Telnet signals before ABOR (RFC 959 section 4.1.3); they are cut off. ABOR
// without a transfer becomes NOOP.
func filter(line []byte, ip6, sending bool) []byte {
	line = bytes.TrimRight(line, "\r\n")
	for len(line) > 0 && line[0] >= 0x80 {
		line = line[1:]
	}
	verb, arg, _ := bytes.Cut(line, []byte(" "))
	verb = bytes.ToUpper(verb)
	switch {
	case !allowedCommands[string(verb)],
		!utf8.Valid(arg) || bytes.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }),
		string(verb) == "STAT" && len(arg) == 0,
		string(verb) == "PASV" && ip6: // the reply has room for IPv4 only; EPSV works for both
		return []byte(refusedCommand)
	case string(verb) == "ABOR" && !sending:
		return []byte("NOOP\r\n")
	}
	return append(append(append(verb, ' '), arg...), '\r', '\n')
}

// Write sends a reply of the library. Each call has one line.
func (c *controlConn) Write(p []byte) (int, error) {
	if code := c.session.takeReplyCode(); code != "" && bytes.HasPrefix(p, []byte("550 ")) {
		p = append([]byte(code), p[3:]...)
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.session.Timing.Reply))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.session.end()
	}
	// The last line of a reply begins with a code and a space (RFC 959 section
	// 4.2).
	if len(p) < 4 || p[0] < '1' || p[0] > '5' || p[3] != ' ' {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p[0] == '1':
		c.replyPending, c.transferring = false, true
	case c.transferring:
		c.transferring = false // the transfer's reply, not the command's
		return n, err
	default:
		c.replyPending = false
	}
	select {
	case c.replied <- struct{}{}:
	default:
	}
	return n, err
}

// setReplyCode sets the code that replaces the library's next 550. The library
// knows no other code. A client that reads 550 assumes that the file is
// missing.
func (n *session) setReplyCode(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case errors.Is(err, errRestart):
		n.replyCode = "554" // RFC 1123 section 4.1.3.4
	case errors.Is(err, files.Unreadable), errors.Is(err, errShort):
		n.replyCode = "451"
	case errors.Is(err, errStalled), errors.Is(err, errBroken), errors.Is(err, errEnding):
		n.replyCode = "426"
	}
}

func (n *session) takeReplyCode() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	code := n.replyCode
	n.replyCode = ""
	return code
}

// deadline returns when the client's next command is due, and the reply after
// that.
func (n *session) deadline() (time.Time, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.loggedIn:
		return n.lastActivity.Add(n.Timing.Login), "421 Login takes too long"
	case n.activeTransfers > 0:
		return time.Now().Add(n.Timing.Idle), ""
	}
	return n.lastActivity.Add(n.Timing.Idle), "421 Nothing was asked for too long"
}

// noteActivity records that the client is active. Before login that does not
// extend the deadline.
func (n *session) noteActivity() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.loggedIn {
		n.lastActivity = time.Now()
	}
}
