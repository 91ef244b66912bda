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

// Errors that a client may read.
var (
	errRestart = errors.New("restart point lies outside the file")

	errNoData  = errors.New("no data connection came from your address")
	errNoPort  = errors.New("no port for data is free, try again")
	errStalled = errors.New("data was not taken in time")
	errBroken  = errors.New("data connection broke")
	errShort   = errors.New("file became shorter while it was sent")
	errEnding  = errors.New("server ends")
)

// A passiveListener is the listener for one data connection. It listens on the
// address that the client connected to. It accepts only the client's own
// address. It refuses a foreign host and goes on waiting. The library's own
// check would give up, or use that connection for the next transfer.
type passiveListener struct {
	*net.TCPListener
	session         *session
	libraryListener net.Listener // the library's own; it needs one to set deadlines on
}

// listenPassive replaces the library's listener by ours.
func (n *session) listenPassive(libraryListener net.Listener) (net.Listener, error) {
	ours, err := n.listenData()
	if err != nil {
		libraryListener.Close()
		return nil, err
	}
	p := &passiveListener{ours, n, libraryListener}
	if !n.adopt(p, nil) {
		p.Close()
		return nil, errEnding
	}
	return p, nil
}

// listenData opens a port of the configured range, or any port. If all are in
// use it waits up to Timing.Port. A port is in use only until its client has
// connected.
func (n *session) listenData() (*net.TCPListener, error) {
	from, ports := int(n.PassiveFrom), int(n.PassiveTo)-int(n.PassiveFrom)+1
	if from == 0 {
		ports = 1
	}
	for end := time.Now().Add(n.Timing.Port); ; {
		for i, first := 0, rand.IntN(ports); i < ports; i++ {
			port := uint16(from + (first+i)%ports)
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.serverAddr, port)))
			if err == nil {
				return l, nil
			}
			if i == ports-1 && time.Now().After(end) {
				n.Log.Warn("open FTP data port", "from", n.PassiveFrom, "to", n.PassiveTo, "err", err)
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

// Accept returns the client's connection and frees the port.
func (p *passiveListener) Accept() (net.Conn, error) {
	defer p.TCPListener.Close()
	p.SetDeadline(time.Now().Add(p.session.Timing.Data))
	for warned := false; ; {
		c, err := p.AcceptTCP()
		if err != nil {
			return nil, errNoData
		}
		if from := limit.Host(c.RemoteAddr()); from != p.session.clientAddr {
			c.Close()
			if !warned {
				p.session.Log.Warn("FTP data connection from a foreign host was refused", "host", from, "client", p.session.clientAddr)
				warned = true
			}
			continue
		}
		d := &dataConn{TCPConn: c, session: p.session}
		if !p.session.adopt(nil, d) {
			d.abort()
			return nil, errEnding
		}
		return d, nil
	}
}

func (p *passiveListener) Close() error {
	p.libraryListener.Close()
	return p.TCPListener.Close()
}

// A dataConn is a data connection. The client must take each chunk within
// Timing.Stall.
type dataConn struct {
	*net.TCPConn
	session   *session
	closeOnce sync.Once
	failed    atomic.Bool
}

// RemoteAddr leaves out the zone, which the library cannot parse.
func (d *dataConn) RemoteAddr() net.Addr {
	a := *d.TCPConn.RemoteAddr().(*net.TCPAddr)
	a.Zone = ""
	return &a
}

func (d *dataConn) Write(p []byte) (int, error) {
	d.SetWriteDeadline(time.Now().Add(d.session.Timing.Stall))
	n, err := d.TCPConn.Write(p)
	return n, d.clientError(err)
}

// ReadFrom sends a file with sendfile.
func (d *dataConn) ReadFrom(r io.Reader) (total int64, err error) {
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
	return total, d.clientError(err)
}

// clientError returns an error that a client may read. Errors of the operating
// system name addresses and calls.
func (d *dataConn) clientError(err error) error {
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

// Close ends the connection. After an error it resets it. So no client takes a
// part for the whole file.
func (d *dataConn) Close() error {
	if d.failed.Load() {
		d.abort()
	}
	d.closeOnce.Do(func() { d.TCPConn.Close() })
	return nil
}

// abort resets the connection. Any goroutine may call it.
func (d *dataConn) abort() {
	d.closeOnce.Do(func() {
		d.SetLinger(0)
		d.TCPConn.Close()
	})
}

func (n *session) isEnded() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}
