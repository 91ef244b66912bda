package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// DefaultBlksize is what a Client asks for, in bytes. Such a block crosses
// Ethernet without fragments in IPv4 and IPv6, and leaves 20 bytes or more for
// a tunnel's header.
const DefaultBlksize = 1428

const (
	defaultWindowsize   = 64
	maxClientWindowsize = 32767
)

// A Client fetches files. The zero value is ready for use, by many goroutines
// at once. A Get keeps a thread of the system's while it waits for packets: two
// system calls are all that a block in lockstep costs.
type Client struct {
	Blksize    int // to ask for, bytes, 8 to 65464; 0: 1428. 512 asks for none
	Windowsize int // to ask for, blocks, of Get; 0: 64. 1 asks for none
	Timing     Timing

	// Announce, if set, is told the size of a file that Get fetches, -1 where
	// the server does not say. It is called once, before the first byte is
	// written. Its error ends the transfer.
	Announce func(size int64) error

	// listenOn opens the socket that a request leaves from. nil: one of the
	// kernel's.
	listenOn func() udp.PacketConn
}

// Stats are what a transfer of a Client's came to.
type Stats struct {
	Bytes      int64 // given to the writer, in order and each once; or taken by the server
	Size       int64 // as the server announced it; -1 where it did not
	Blksize    int   // as agreed
	Windowsize int   // as agreed
	Took       time.Duration
	Resent     int // packets of ours
}

// Get fetches a file of the server's at server, port included, and writes it to
// w. It returns nil only for a whole file: the last block came and was written,
// and the size is that which the server announced, if it did. Whatever the
// error, Stats.Bytes is how much w took.
//
// Blocks are gathered and written some 64 KiB at a time. A window is
// acknowledged before it is written, so that the next one comes meanwhile. The
// last ACK alone, which ends the transfer, waits for w. Whatever the server
// does, Get holds less than 512 KiB.
//
// A missing file is fs.ErrNotExist. What else the server says is an *Error. A
// file that ends too early is io.ErrUnexpectedEOF. Where nobody answers it is
// os.ErrDeadlineExceeded. An error of w's, or the end of ctx, is told to the
// server, and ends the transfer at once.
func (c *Client) Get(ctx context.Context, server netip.AddrPort, name string, w io.Writer) (Stats, error) {
	start := time.Now()
	asked := Options{TSize: true, Blksize: c.Blksize, Windowsize: c.Windowsize}
	if asked.Blksize == 0 {
		asked.Blksize = DefaultBlksize
	}
	if asked.Windowsize == 0 {
		asked.Windowsize = defaultWindowsize
	}
	if asked.Blksize < minBlksize || asked.Blksize > maxBlksize || asked.Windowsize < 1 || asked.Windowsize > maxClientWindowsize {
		return Stats{Size: -1}, fmt.Errorf("get %q: blksize %d or windowsize %d out of range", name, c.Blksize, c.Windowsize)
	}
	if asked.Blksize == defaultBlksize {
		asked.Blksize = 0
	}
	if asked.Windowsize == 1 {
		asked.Windowsize = 0
	}
	t, err := c.get(ctx, server, name, w, asked)
	if e := (declined{}); errors.As(err, &e) && (e.said.Code == CodeOptions || e.said.Code == CodeIllegal) {
		// Servers older than RFC 2347 may refuse a request for its options.
		t, err = c.get(ctx, server, name, w, Options{})
	}
	t.Took = time.Since(start)
	if err != nil {
		return t, fmt.Errorf("get %q: %w", name, err)
	}
	return t, nil
}

// declined is an ERROR in answer to a request.
type declined struct{ peerError }

// listen opens the socket that a request leaves from.
func (c *Client) listen(server netip.AddrPort) (udp.PacketConn, error) {
	if c.listenOn != nil {
		return c.listenOn(), nil
	}
	conn, err := net.ListenUDP(network(server.Addr()), nil)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	return conn, nil
}

// get is one request and what follows it.
func (c *Client) get(ctx context.Context, server netip.AddrPort, name string, w io.Writer, asked Options) (Stats, error) {
	server = unmap(server)
	req := &Request{Name: name, Mode: "octet", Options: asked}
	stats := Stats{Size: -1, Blksize: defaultBlksize, Windowsize: 1}
	if err := CheckRequest(server, req); err != nil {
		return stats, err
	}
	conn, err := c.listen(server)
	if err != nil {
		return stats, err
	}
	udp.ReportRefused(conn)
	timing := c.Timing.WithDefaults()
	d := &download{Stats: stats, asked: asked, w: w, announce: c.Announce, timing: timing, rto: newRTO(timing), start: time.Now()}
	size := headerLen + max(asked.Blksize, defaultBlksize) + 1
	answer, tid, err := d.ask(ctx, conn, server, appendRequest(nil, req), make([]byte, size))
	if err == nil && opcode(answer) == opERROR {
		err = declined{peerError{parseError(answer)}}
	}
	if err != nil {
		conn.Close()
		return d.Stats, err
	}
	return d.receive(ctx, conn, tid, answer, size)
}

// receive takes the file from the port that the server answered from.
func (d *download) receive(ctx context.Context, conn udp.PacketConn, tid netip.AddrPort, answer []byte, size int) (Stats, error) {
	var err error
	if d.conn, err = udp.Connect(conn, tid, size); err != nil {
		conn.Close()
		return d.Stats, fmt.Errorf("open a socket: %w", err)
	}
	d.conn.SetSendTimeout(d.timing.SendWait)
	conn.SetReadDeadline(time.Time{}) // that of ask
	request := newRequestSocket(conn, tid)
	go request.answer()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		d.cancelled.Store(true)
		d.conn.Interrupt()
		close(interrupted)
	})
	if err = d.run(ctx, answer); err != nil {
		d.abort(err)
	}
	if !stop() {
		<-interrupted // before the descriptor's number is another's
	}
	d.conn.Close()
	if err != nil {
		conn.Close()
	} else {
		request.dally(d.last, d.timing.Dally)
	}
	return d.Stats, err
}
