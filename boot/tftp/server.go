package tftp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A Request is an RRQ or WRQ.
type Request struct {
	Name    string // as it was sent: nothing about it is checked
	Write   bool
	Mode    string         // octet or netascii
	Remote  netip.AddrPort // the client
	Local   netip.AddrPort // the address that was asked; the answers leave from there
	Options Options        // as asked; malformed and unknown ones are left out
}

// A Source is what a download reads.
type Source struct {
	io.ReaderAt
	Size  int64        // bytes
	Close func() error // may be nil

	// Key is comparable, and the same for two sources with the same bytes. What
	// was read of one then serves both. Of sources that are open at once only
	// one is kept. nil: there is none like it.
	Key any

	// Windowsize is the widest window to grant this client, in blocks, for a
	// network card whose ring takes no more. 0: as in Limits.
	Windowsize int
}

// A NowReader is a Source's ReaderAt that can tell what it has at hand, as the
// system's page cache may. ReadAtNow waits for nothing. Where it does not fill
// p, ReadAt is called by a goroutine that may wait.
type NowReader interface {
	ReadAtNow(p []byte, off int64) (n int, err error)
}

// A Result is what became of one request.
type Result struct {
	Request
	Granted Options
	Bytes   int64 // of the file, that the client acknowledged or that were stored
	Took    time.Duration
	Resent  int   // packets that were retransmitted
	Err     error // nil: the whole file arrived, or Probe

	// Probe: the client asked for tsize, and ended the transfer when it had been
	// told (RFC 2349). That is no failure.
	Probe bool
}

// Limits bound what strangers can make a server do. The zero value of a field
// takes the default that its comment names.
//
// A transfer counts against Transfers and PerClient once its client has
// answered, as one that is there does within a round trip. Beyond them it gets
// an ERROR. Before that it is half-open, and costs memory alone. When there are
// too many half-open ones the oldest goes without a word. So a flood of requests
// in the name of others refuses nobody.
type Limits struct {
	Transfers  int // at once: 8192
	PerClient  int // at once to one address: 4096, so that hundreds of devices fit behind one NAT
	HalfOpen   int // at once: 4096
	Blksize    int // largest block granted, bytes: 65464
	Windowsize int // widest window granted, blocks: 64
	Files      int // open at once: 2048; transfers of the same Source.Key share one
	Cache      int // bytes of files that are kept in memory: 16 MiB, at least 4 MiB
}

func (l Limits) withDefaults() Limits {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.Transfers, 8192)
	def(&l.PerClient, 4096)
	def(&l.HalfOpen, 4096)
	def(&l.Blksize, maxBlksize)
	def(&l.Windowsize, 64)
	def(&l.Files, 2048)
	def(&l.Cache, 16<<20)
	l.Cache = max(l.Cache, 4<<20) // room for all reads at a time, and for one block
	l.Blksize = max(l.Blksize, minBlksize)
	return l
}

// Counters count since a server began.
type Counters struct {
	Requests atomic.Int64 // RRQ and WRQ that began a transfer
	Refused  atomic.Int64 // beyond Limits.Transfers, PerClient or Files
	GaveWay  atomic.Int64 // half-open, beyond Limits.HalfOpen
	Strays   atomic.Int64 // packets of no transfer
}

// Config is what a person may set of a Server.
type Config struct {
	SinglePort bool // answer from the listening port, for firewalls and NAT that know no TFTP
	Fragments  bool // grant blocks that only IP fragments carry; else none larger than the path's MTU
	RollToOne  bool // after block 65535 comes 1, as some old clients have it; else 0
	Limits     Limits
}

// A Server answers TFTP requests. Its fields are not changed while it serves.
//
// Of an error that Open, Uploads or a Source returns the client learns no more
// than a standard code and text. fs.ErrNotExist, fs.ErrPermission, fs.ErrExist
// and ENOSPC have theirs. An *Error goes out as it is.
type Server struct {
	// Open finds the file of a read request. The context ends with the transfer.
	Open func(ctx context.Context, r *Request) (*Source, error)

	// Uploads takes the files of write requests. nil: they are refused.
	Uploads Uploader

	// Done is told of every request that was answered, from many goroutines, but
	// not of downloads that gave way.
	Done func(Result)

	Config
	Log    *slog.Logger // nil: silent
	Timing Timing

	Counters Counters
}

// Serve answers requests that come to conn, which it owns, until ctx ends. It
// then tells the clients of transfers under way, and returns nil.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	return s.serve(ctx, conn)
}

func (s *Server) serve(ctx context.Context, conn udp.PacketConn) error {
	e, err := newEngine(ctx, s, conn)
	if err != nil {
		return fmt.Errorf("serve TFTP: %w", err)
	}
	if err := e.run(); err != nil {
		return fmt.Errorf("serve TFTP: %w", err)
	}
	return nil
}
