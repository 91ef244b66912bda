package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	pin "github.com/pin/tftp/v3"

	"github.com/bootlace/bootlace/boot/tftp"
)

// maxText is how much of an error's text is kept, in bytes.
const maxText = 256

// Put sends size bytes of r as a file of that name, in lockstep and octet mode.
// Size -1 is until r ends. Blksize and Timing are c's. When r ends too early
// the server is told, and the error is io.ErrUnexpectedEOF. What the server
// says is a *tftp.Error.
//
// It returns as soon as ctx ends, though not in the middle of a read of r's. It
// does not read r after it has returned.
func Put(ctx context.Context, c *tftp.Client, server netip.AddrPort, name string, r io.Reader, size int64) (tftp.Stats, error) {
	start := time.Now()
	stats := tftp.Stats{Size: size, Blksize: c.Blksize, Windowsize: 1}
	if stats.Blksize == 0 {
		stats.Blksize = tftp.DefaultBlksize
	}
	wrap := func(err error) error { return fmt.Errorf("put %q: %w", name, err) }
	request := &tftp.Request{Write: true, Name: name, Mode: "octet", Options: tftp.Options{Blksize: stats.Blksize}}
	if err := tftp.CheckRequest(server, request); err != nil {
		return stats, wrap(err)
	}
	p, err := pin.NewClient(netip.AddrPortFrom(server.Addr().Unmap(), server.Port()).String())
	if err != nil {
		return stats, wrap(err)
	}
	timing := c.Timing.WithDefaults()
	p.SetTimeout(timing.Initial)
	p.SetRetries(timing.Retries)
	p.SetBackoff(func(int) time.Duration { return 0 })
	if stats.Blksize != defaultBlksize {
		p.SetBlockSize(stats.Blksize)
	}

	src := &exactReader{r: r, left: size}
	ended := make(chan error, 1)
	go func() {
		rf, err := p.Send(name, "octet")
		if err == nil {
			_, err = rf.ReadFrom(src)
		}
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		// pin's client knows no context. The error that it reads next, or its
		// retries, end it, and it tells the server.
		err = context.Cause(ctx)
	}
	src.stop()
	stats.Bytes, stats.Took = src.n, time.Since(start)
	if src.err != nil {
		err = src.err
	}
	if err != nil {
		return stats, wrap(putError(err))
	}
	return stats, nil
}

// putError finds the code in the text of an error of pin's.
func putError(err error) error {
	e := new(tftp.Error)
	var block int
	_, text, ok := strings.Cut(err.Error(), ", error: ")
	if n, _ := fmt.Sscanf(err.Error(), "sending block %d: code=%d,", &block, &e.Code); ok && n == 2 {
		text, _, _ = strings.Cut(text, "\x00")
		e.Text = strings.ToValidUTF8(text[:min(len(text), maxText)], "?")
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer: %w", err)
	}
	return err
}

// An exactReader reads as many bytes as there must be, until it is stopped.
type exactReader struct {
	mu   sync.Mutex
	r    io.Reader
	left int64 // -1: until the end
	n    int64
	err  error
}

var errStopped = errors.New("transfer was cancelled")

func (e *exactReader) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.r = nil
}

func (e *exactReader) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.r == nil:
		return 0, errStopped
	case e.left == 0:
		return 0, io.EOF
	case e.left > 0:
		p = p[:min(int64(len(p)), e.left)]
	}
	n, err := e.r.Read(p)
	e.n += int64(n)
	if e.left > 0 {
		e.left -= int64(n)
	}
	switch {
	case err == nil:
	case err == io.EOF && e.left <= 0:
	case err == io.EOF:
		e.err = fmt.Errorf("%d bytes came, %d were announced: %w", e.n, e.n+e.left, io.ErrUnexpectedEOF)
		err = errStopped
	default:
		e.err, err = err, errStopped
	}
	return n, err
}
