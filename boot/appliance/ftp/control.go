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

// maxLine bounds a command in bytes. A reply that repeats it still fits into
// one write of the library's, see Write.
const maxLine = 2048

// commands are those that reach the library: what is needed to read files, and
// what is refused with more than a bare 502. PORT and EPRT are not among
// them, so that nobody can have data sent elsewhere (RFC 2577 section 3); nor
// is STAT without a name, which the library runs beside a transfer.
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

// A control is a control connection as the library sees it: only whole lines
// with commands that it should get, one at a time, and an end when the client
// does nothing. The library's own deadlines are not set.
type control struct {
	net.Conn
	session *session
	given   atomic.Bool // to the library

	// Of the library's reading goroutine alone.
	in   *bufio.Reader
	part []byte // of a line, from before a deadline
	rest []byte // of the line that the library reads

	mu       sync.Mutex
	waiting  bool          // the command that was handed over has no reply yet
	sending  bool          // a transfer was begun (1xx) and has no final reply yet
	answered chan struct{} // has an element when waiting became false
}

func newControl(n *session, c net.Conn) *control {
	return &control{Conn: c, session: n, in: bufio.NewReaderSize(c, maxLine),
		waiting: true, answered: make(chan struct{}, 1)} // for the greeting
}

// once returns the connection the first time, and nil after that.
func (c *control) once() net.Conn {
	if c.given.Swap(true) {
		return nil
	}
	return c
}

// Read gives the next command. It waits until the one before got a reply: the
// library reads on while a transfer begins, and would write two at once.
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

// line reads up to and with the line feed.
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
		// A transfer may have moved the deadline meanwhile.
		if later, reason := c.session.deadline(); !later.After(time.Now()) {
			c.say(reason)
			return nil, io.EOF
		}
	}
}

// say is for the end of the connection, when the library has nothing to say.
func (c *control) say(line string) {
	c.Conn.SetWriteDeadline(time.Now().Add(c.session.Timing.Reply))
	io.WriteString(c.Conn, line+"\r\n")
}

// filter gives the line as the library shall see it. A client that aborts puts
// Telnet signals before the command (RFC 959 section 4.1.3); where nothing is
// being sent that is no command to run beside others.
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
		string(verb) == "PASV" && ip6: // its answer has room for IPv4 only; EPSV is for both
		return []byte(refused)
	case string(verb) == "ABOR" && !sending:
		return []byte("NOOP\r\n")
	}
	return append(append(append(verb, ' '), arg...), '\r', '\n')
}

// Write sends a reply of the library, a line at a time.
func (c *control) Write(p []byte) (int, error) {
	if code := c.session.takeCode(); code != "" && bytes.HasPrefix(p, []byte("550 ")) {
		p = append([]byte(code), p[3:]...)
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.session.Timing.Reply))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.session.close()
	}
	// The last line of a reply is a code and a space (RFC 959 section 4.2).
	if len(p) < 4 || p[0] < '1' || p[0] > '5' || p[3] != ' ' {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p[0] == '1':
		c.waiting, c.sending = false, true
	case c.sending:
		c.sending = false // of the transfer, whatever was asked meanwhile
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

// setCode says with which code the library's next 550 goes out. It knows no
// other, and a client that reads 550 takes the file for missing.
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

// deadline is until when the client must send its next command, and what it is
// told then.
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

// touch says that the client did something. Until it logged in that is no
// reason to wait longer.
func (n *session) touch() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready {
		n.last = time.Now()
	}
}
