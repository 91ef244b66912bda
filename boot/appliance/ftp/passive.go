package ftp

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/limit"
)

// What a client may read of how its transfer fared.
var (
	errRestart = errors.New("restart point lies outside the file")

	errNoData  = errors.New("no data connection came from your address")
	errNoPort  = errors.New("no port for data is free, try again")
	errStalled = errors.New("data was not taken in time")
	errBroken  = errors.New("data connection broke")
	errShort   = errors.New("file became shorter while it was sent")
	errEnding  = errors.New("server ends")
)

// A passive waits for one data connection: on the address that the client
// asked, and from the address that it asked from. A foreign host that connects
// first is turned away and the wait goes on; the library's own check would
// give up, or take it for the next transfer.
type passive struct {
	*net.TCPListener
	session *session
	unused  net.Listener // the library's; it wants to set deadlines on it
}

// listen replaces the listener that the library made.
func (n *session) listen(unused net.Listener) (net.Listener, error) {
	own, err := n.listenData()
	if err != nil {
		unused.Close()
		return nil, err
	}
	p := &passive{own, n, unused}
	if !n.own(p, nil) {
		p.Close()
		return nil, errEnding
	}
	return p, nil
}

// listenData takes a port of the range, any where there is none. Where all are
// in use it waits a little: each is in use only until its client has connected.
func (n *session) listenData() (*net.TCPListener, error) {
	from, ports := int(n.PassiveFrom), int(n.PassiveTo)-int(n.PassiveFrom)+1
	if from == 0 {
		ports = 1
	}
	for end := time.Now().Add(n.Timing.Port); ; {
		for i, first := 0, rand.IntN(ports); i < ports; i++ {
			port := uint16(from + (first+i)%ports)
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.local, port)))
			if err == nil {
				return l, nil
			}
			if i == ports-1 && time.Now().After(end) {
				n.Log.Warn("open FTP data port", "from", n.PassiveFrom, "to", n.PassiveTo, "error", err)
				return nil, errNoPort
			}
		}
		select {
		case <-n.done:
			return nil, errEnding
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Accept returns the connection that the client made, and frees the port.
func (p *passive) Accept() (net.Conn, error) {
	defer p.TCPListener.Close()
	p.SetDeadline(time.Now().Add(p.session.Timing.Data))
	for warned := false; ; {
		c, err := p.AcceptTCP()
		if err != nil {
			return nil, errNoData
		}
		if from := limit.Host(c.RemoteAddr()); from != p.session.peer {
			c.Close()
			if !warned {
				p.session.Log.Warn("FTP data connection from a foreign host was refused", "host", from, "client", p.session.peer)
				warned = true
			}
			continue
		}
		d := &data{TCPConn: c, session: p.session}
		if !p.session.own(nil, d) {
			d.abort()
			return nil, errEnding
		}
		return d, nil
	}
}

func (p *passive) Close() error {
	p.unused.Close()
	return p.TCPListener.Close()
}

// A data is a data connection. Its client must take each chunk in time.
type data struct {
	*net.TCPConn
	session *session
	once    sync.Once
	failed  atomic.Bool
}

// RemoteAddr is without a zone, which the library cannot read.
func (d *data) RemoteAddr() net.Addr {
	a := *d.TCPConn.RemoteAddr().(*net.TCPAddr)
	a.Zone = ""
	return &a
}

func (d *data) Write(p []byte) (int, error) {
	d.SetWriteDeadline(time.Now().Add(d.session.Timing.Stall))
	n, err := d.TCPConn.Write(p)
	return n, d.explain(err)
}

// ReadFrom sends a file by sendfile.
func (d *data) ReadFrom(r io.Reader) (total int64, err error) {
	t, ok := r.(*transfer)
	if !ok {
		return io.Copy(struct{ io.Writer }{d}, r)
	}
	var from io.Reader = t.file
	if f := t.file.OS(); f != nil {
		from = f
		_, err = f.Seek(t.offset, io.SeekStart)
	} else {
		_, err = t.file.Seek(t.offset, io.SeekStart)
	}
	for left := t.file.Size() - t.offset; left > 0 && err == nil; {
		part := min(left, chunk)
		d.SetWriteDeadline(time.Now().Add(d.session.Timing.Stall))
		var n int64
		n, err = d.TCPConn.ReadFrom(io.LimitReader(from, part))
		t.sent += n
		total += n
		left -= n
		if n < part && err == nil {
			err = errShort
		}
	}
	return total, d.explain(err)
}

// explain gives an error that a client may read; errors of the operating
// system name addresses and calls.
func (d *data) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errShort):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %d bytes in %v", errStalled, chunk, d.session.Timing.Stall)
	case d.session.isEnded():
		err = errEnding
	default:
		err = errBroken
	}
	d.failed.Store(true)
	return err
}

// Close ends the transfer: in order, or so that no client takes what came for
// the whole file.
func (d *data) Close() error {
	if d.failed.Load() {
		d.abort()
	}
	d.once.Do(func() { d.TCPConn.Close() })
	return nil
}

// abort resets the connection. It may be called from another goroutine.
func (d *data) abort() {
	d.once.Do(func() {
		d.SetLinger(0)
		d.TCPConn.Close()
	})
}

func (n *session) isEnded() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}
