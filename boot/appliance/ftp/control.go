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

// commands are the commands that reach the library. These read files, or get a
// better reply than a bare 502. PORT and EPRT are missing. So nobody can have
// data sent to another host (RFC 2577 section 3). STAT without a name is
// refused in filter, since the library runs it during a transfer.
var commands = map[string]bool{
	"USER": true, "PASS": true, "QUIT": true, "ABOR": true, "NOOP": true, "FEAT": true, "SYST": true, "OPTS": true, "CLNT": true,
	"TYPE": true, "MODE": true, "PASV": true, "EPSV": true, "REST": true, "RETR": true,
	"SIZE": true, "MDTM": true, "NLST": true, "LIST": true, "MLSD": true, "MLST": true,
	"CWD": true, "XCWD": true, "PWD": true, "XPWD": true, "CDUP": true, "STAT": true,
	"STOR": true, "APPE": true, "DELE": true, "MKD": true, "XMKD": true, "RMD": true, "XRMD": true,
	"RNFR": true, "RNTO": true, "MFMT": true,
}

// refused is a command that the library answers with 502.
const refused = "XSEM\r\n"

// A control is the control connection that the library reads and writes. Read
// returns one allowed command at a time, each a whole line. It returns io.EOF
// once the client is idle for too long. The library sets no deadlines of its
// own.
type control struct {
	net.Conn
	session *session
	given   atomic.Bool // the library has accepted it

	// Only the library's reading goroutine uses these.
	in   *bufio.Reader
	part []byte // start of a line, from before a deadline
	rest []byte // rest of the command that the library reads

	mu       sync.Mutex
	waiting  bool          // the library has a command and has not replied yet
	sending  bool          // a transfer began (1xx) and has no final reply yet
	answered chan struct{} // signals that waiting became false
}

func newControl(n *session, c net.Conn) *control {
	return &control{Conn: c, session: n, in: bufio.NewReaderSize(c, maxLine),
		waiting: true, answered: make(chan struct{}, 1)} // the greeting comes first
}

// once returns the connection at its first call, and later nil.
func (c *control) once() net.Conn {
	if c.given.Swap(true) {
		return nil
	}
	return c
}

// Read returns the next command. It first waits for the reply to the last one.
// The library reads on while a transfer begins, and would write two replies at
// once.
func (c *control) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if !c.wait() {
			return 0, io.EOF
		}
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		c.mu.Lock()
		c.waiting = true
		sending := c.sending
		c.mu.Unlock()
		c.rest = filter(line, c.session.local.Is6(), sending)
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *control) wait() bool {
	for {
		c.mu.Lock()
		waiting := c.waiting
		c.mu.Unlock()
		if !waiting {
			return true
		}
		select {
		case <-c.answered:
		case <-c.session.done:
			return false
		}
	}
}

// line reads one line, with its line feed.
func (c *control) line() ([]byte, error) {
	c.part = c.part[:0]
	for {
		deadline, _ := c.session.deadline()
		c.Conn.SetReadDeadline(deadline)
		frag, err := c.in.ReadSlice('\n')
		c.part = append(c.part, frag...)
		switch {
		case len(c.part) > maxLine || errors.Is(err, bufio.ErrBufferFull):
			c.say("500 Command is too long")
			return nil, io.EOF
		case err == nil:
			c.session.touch()
			return c.part, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, io.EOF
		}
		// A transfer may have extended the deadline meanwhile.
		if later, reason := c.session.deadline(); !later.After(time.Now()) {
			c.say(reason)
			return nil, io.EOF
		}
	}
}

// say sends the last reply of a connection that ends.
func (c *control) say(line string) {
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
	case !commands[string(verb)],
		!utf8.Valid(arg) || bytes.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }),
		string(verb) == "STAT" && len(arg) == 0,
		string(verb) == "PASV" && ip6: // the reply has room for IPv4 only; EPSV works for both
		return []byte(refused)
	case string(verb) == "ABOR" && !sending:
		return []byte("NOOP\r\n")
	}
	return append(append(append(verb, ' '), arg...), '\r', '\n')
}

// Write sends a reply of the library. Each call has one line.
func (c *control) Write(p []byte) (int, error) {
	if code := c.session.takeCode(); code != "" && bytes.HasPrefix(p, []byte("550 ")) {
		p = append([]byte(code), p[3:]...)
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.session.Timing.Reply))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.session.close()
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
		c.waiting, c.sending = false, true
	case c.sending:
		c.sending = false // the transfer's reply, not the command's
		return n, err
	default:
		c.waiting = false
	}
	select {
	case c.answered <- struct{}{}:
	default:
	}
	return n, err
}

// setCode sets the code that replaces the library's next 550. The library knows
// no other code. A client that reads 550 assumes that the file is missing.
func (n *session) setCode(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case errors.Is(err, errRestart):
		n.code = "554" // RFC 1123 section 4.1.3.4
	case errors.Is(err, files.Unreadable), errors.Is(err, errShort):
		n.code = "451"
	case errors.Is(err, errStalled), errors.Is(err, errBroken), errors.Is(err, errEnding):
		n.code = "426"
	}
}

func (n *session) takeCode() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	code := n.code
	n.code = ""
	return code
}

// deadline returns when the client's next command is due, and the reply after
// that.
func (n *session) deadline() (time.Time, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.ready:
		return n.last.Add(n.Timing.Login), "421 Login takes too long"
	case n.active > 0:
		return time.Now().Add(n.Timing.Idle), ""
	}
	return n.last.Add(n.Timing.Idle), "421 Nothing was asked for too long"
}

// touch records that the client is active. Before login that does not extend
// the deadline.
func (n *session) touch() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready {
		n.last = time.Now()
	}
}
