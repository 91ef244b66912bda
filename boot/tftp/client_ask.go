package tftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// CheckRequest holds what a server's address and a name may be, which blksize may
// be asked for (RFC 2348), and how long a request is (RFC 2347).
func CheckRequest(server netip.AddrPort, r *Request) error {
	switch blksize := r.Options.Blksize; {
	case !server.IsValid() || server.Port() == 0:
		return errors.New("no address and port of a server")
	case r.Name == "" || strings.Contains(r.Name, "\x00"):
		return errors.New("name is empty or holds a NUL")
	case len(appendRequest(nil, r)) > maxClientRequest:
		return fmt.Errorf("name is too long for a request of %d bytes", maxClientRequest)
	case blksize != 0 && (blksize < minBlksize || blksize > maxBlksize):
		return fmt.Errorf("blksize %d is out of range", blksize)
	}
	return nil
}

// ask sends a request until the server answers, from whatever port of its. It
// returns what the server says first, and that port (its transfer ID, RFC 1350
// section 4).
func (d *download) ask(ctx context.Context, conn udp.PacketConn, server netip.AddrPort, request, buf []byte) (answer []byte, tid netip.AddrPort, err error) {
	defer interruptRead(ctx, conn)()
	for resends := 0; ; resends++ {
		// What cannot be sent is a packet lost: the link may come back.
		conn.WriteToUDPAddrPort(request, server)
		d.sentAt = time.Since(d.start)
		for {
			n, from, err := readUntil(ctx, conn, buf, d.start.Add(d.sentAt+d.rto.timeout()))
			switch {
			case ctx.Err() != nil:
				return nil, tid, context.Cause(ctx)
			case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, net.ErrClosed):
				return nil, tid, err // nobody serves there
			case err == nil && sameAddr(from.Addr(), server.Addr()) && isAnswer(buf[:n]):
				d.now, d.clean = time.Since(d.start), resends == 0
				return buf[:n], from, nil
			case !errors.Is(err, os.ErrDeadlineExceeded):
				continue // of no transfer, or an error of an earlier packet
			}
			break
		}
		if resends == d.timing.First {
			return nil, tid, fmt.Errorf("%w: %w", errSilent, os.ErrDeadlineExceeded)
		}
		d.rto.backoff()
		d.Resent++
	}
}

// isAnswer reports whether p may be the first packet after a read request.
func isAnswer(p []byte) bool {
	switch block, _, ok := parseBlock(p); opcode(p) {
	case opOACK, opERROR:
		return true
	case opDATA:
		return ok && block == 1
	}
	return false
}
