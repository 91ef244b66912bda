package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/jlaffaye/ftp"
)

// maxControl bounds what a server may say on one control connection, in bytes.
const maxControl = 64 << 10

// getFTP reads the file in image mode (RFC 959). It goes on from held by REST
// (RFC 3659 section 5). It ends well only when the server says 226.
func getFTP(ctx context.Context, u *url.URL, s *stream) error {
	c, err := s.puller.dialFTP(ctx, u, 0)
	if err != nil {
		return ftpError(err)
	}
	defer c.Quit()
	name := ftpName(u)
	size, err := c.FileSize(name)
	if reply := new(textproto.Error); errors.As(err, &reply) {
		// Some servers refuse SIZE; whether there is such a file RETR will tell.
		size, err = -1, nil
	}
	if err != nil {
		return fmt.Errorf("SIZE: %w", ftpError(err))
	}
	if err := s.announce(size); err != nil {
		return err
	}
	at := int64(0)
	if size >= 0 && s.resumable() { // REST beyond the end would look like the end
		at = s.held
	}
	if c.IsGetTimeSupported() {
		// MDTM (RFC 3659 section 3): a file that was touched is compared from its start.
		if t, err := c.GetTime(name); err == nil && !s.same(t.UTC().Format(time.DateTime), t) {
			at = 0
		}
	}
	body, err := c.RetrFrom(name, uint64(at))
	if at > 0 && noREST(err) {
		at = 0
		body, err = c.Retr(name)
	}
	if err != nil {
		return fmt.Errorf("RETR: %w", ftpError(err))
	}
	s.begin(at)
	if err := s.takeAll(body); err != nil {
		return err // and ctx closes both connections; the server may owe its last reply for long
	}
	// Without 226 nobody knows whether this was the end. A 550 here no longer
	// means that there is no such file, so it is not wrapped.
	if err := body.Close(); err != nil {
		return fmt.Errorf("end of transfer: %v", ftpError(err))
	}
	return nil
}

// noREST reports whether the server refused REST, not RETR. RFC 959 section 5.4
// has no 550 for REST, and none of these for RETR.
func noREST(err error) bool {
	reply := new(textproto.Error)
	if !errors.As(err, &reply) {
		return false
	}
	switch reply.Code {
	case ftp.StatusBadCommand, ftp.StatusBadArguments, ftp.StatusNotImplemented, ftp.StatusNotImplementedParameter, 554:
		return true
	}
	return false
}

// ftpName is the path that a URL means. It lies below the folder in which the
// login ends (RFC 1738 section 3.2.2).
func ftpName(u *url.URL) string { return strings.TrimPrefix(u.Path, "/") }

// dialFTP connects, logs in and sets image mode. The connection serves one
// transfer and ends with ctx. limit bounds the transfer in bytes, 0 is no bound.
func (p *Puller) dialFTP(ctx context.Context, u *url.URL, limit int) (*ftp.ServerConn, error) {
	d := &ftpDialer{ctx: ctx, limit: limit}
	port := "21"
	options := []ftp.DialOption{ftp.DialWithDialFunc(d.dial)}
	if u.Scheme == "ftps" {
		port, d.tls = "990", p.tls(u.Hostname())
		// Servers want the data connection to resume the control connection's session.
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(2)
		options = append(options, ftp.DialWithTLS(d.tls))
	}
	if u.Port() != "" {
		port = u.Port()
	}
	c, err := ftp.Dial(net.JoinHostPort(u.Hostname(), port), options...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	user, password := "anonymous", "bootlace@"
	if u.User != nil {
		user = u.User.Username()
		password, _ = u.User.Password()
	}
	if err := c.Login(user, password); err != nil {
		c.Quit()
		switch err.(type) {
		case *textproto.Error, textproto.ProtocolError, net.Error:
		default: // of a refused USER the library keeps only the server's words
			err = fmt.Errorf("%.80q", err.Error())
		}
		return nil, fmt.Errorf("log in: %w", err)
	}
	return c, nil
}

// An ftpDialer opens the connections of one transfer. First comes the control
// connection. Data connections go between the same two hosts, whatever address
// the server names. All of them close when ctx ends.
type ftpDialer struct {
	ctx     context.Context
	tls     *tls.Config // nil: none
	limit   int         // of bytes read from a data connection, 0: none
	control net.Conn
}

func (d *ftpDialer) dial(network, address string) (net.Conn, error) {
	var dialer net.Dialer
	if d.control != nil {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		peer := d.control.RemoteAddr().(*net.TCPAddr)
		address = net.JoinHostPort((&net.IPAddr{IP: peer.IP, Zone: peer.Zone}).String(), port)
		local := d.control.LocalAddr().(*net.TCPAddr)
		dialer.LocalAddr = &net.TCPAddr{IP: local.IP, Zone: local.Zone}
	}
	conn, err := dialer.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	raw := conn // conn is wrapped below, maybe while ctx ends
	context.AfterFunc(d.ctx, func() { raw.Close() })
	if d.tls != nil {
		conn = tls.Client(conn, d.tls)
	}
	limit := d.limit
	if d.control == nil {
		d.control, limit = conn, maxControl
	}
	if limit > 0 {
		conn = &limitedConn{Conn: conn, limit: limit, left: limit}
	}
	return conn, nil
}

// A limitedConn bounds what the server may say. The library keeps a reply and a
// listing in memory, however long they are.
type limitedConn struct {
	net.Conn
	limit, left int
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("server sent more than %d bytes", c.limit)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// ftpError is what a negative reply means (RFC 959 section 4.2). The server's
// words are quoted and cut short, as they may go to a console.
func ftpError(err error) error {
	reply := new(textproto.Error)
	if bad := textproto.ProtocolError(""); errors.As(err, &bad) {
		return fmt.Errorf("server's reply is malformed: %.80q", string(bad))
	}
	if !errors.As(err, &reply) {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	text := fmt.Sprintf("server answers %d %.80q", reply.Code, reply.Msg)
	switch reply.Code {
	case ftp.StatusFileUnavailable:
		return fmt.Errorf("%s: %w", text, fs.ErrNotExist)
	case ftp.StatusNotLoggedIn, ftp.StatusStorNeedAccount, ftp.StatusBadFileName:
		return fmt.Errorf("%s: %w", text, fs.ErrPermission)
	}
	return errors.New(text)
}

// tls is a copy of the caller's configuration, for a server of that name.
func (p *Puller) tls(host string) *tls.Config {
	c := p.TLS.Clone()
	if c == nil {
		c = new(tls.Config)
	}
	if host != "" && c.ServerName == "" {
		if a, err := netip.ParseAddr(host); err == nil {
			host = a.WithZone("").String()
		}
		c.ServerName = host
	}
	return c
}

// ftpPutError is ftpError for what was to be written. There 550 and 553 mean
// that it may not be.
func ftpPutError(command string, err error) error {
	reply := new(textproto.Error)
	if errors.As(err, &reply) && reply.Code == ftp.StatusFileUnavailable {
		return fmt.Errorf("%s: server answers 550 %.80q: %w", command, reply.Msg, fs.ErrPermission)
	}
	return fmt.Errorf("%s: %w", command, ftpError(err))
}
