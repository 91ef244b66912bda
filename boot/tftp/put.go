package tftp

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
)

// Put sends size bytes of r as a file of that name; size -1 is until r ends.
// When r ends too early the server is told, and the error is
// io.ErrUnexpectedEOF. What the server says is an *Error.
//
// It returns as soon as ctx ends, though not in the middle of a read of r's;
// r is not read after it has returned.
func (c *Client) Put(ctx context.Context, server netip.AddrPort, name string, r io.Reader, size int64) (Transfer, error) {
	start := time.Now()
	t := Transfer{Size: size, Blksize: c.Blksize, Windowsize: 1}
	if t.Blksize == 0 {
		t.Blksize = defaultAsk
	}
	wrap := func(err error) error { return fmt.Errorf("put %q: %w", name, err) }
	req := &Request{Write: true, Name: name, Mode: "octet", Options: Options{Blksize: t.Blksize}}
	if err := checkRequest(server, req); err != nil {
		return t, wrap(err)
	}
	if t.Blksize < minBlksize || t.Blksize > maxBlksize {
		return t, wrap(fmt.Errorf("blksize %d is out of range", t.Blksize))
	}
	p, err := pin.NewClient(unmap(server).String())
	if err != nil {
		return t, wrap(err)
	}
	timing := c.Timing.withDefaults()
	p.SetTimeout(timing.Initial)
	p.SetRetries(timing.Retries)
	p.SetBackoff(func(int) time.Duration { return 0 })
	if t.Blksize != defaultBlksize {
		p.SetBlockSize(t.Blksize)
	}

	src := &exactly{r: r, left: size}
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
	t.Bytes, t.Took = src.n, time.Since(start)
	if src.err != nil {
		err = src.err
	}
	if err != nil {
		return t, wrap(putError(err))
	}
	return t, nil
}

// putError finds the code in the text of an error of pin's.
func putError(err error) error {
	e := new(Error)
	var block int
	_, text, ok := strings.Cut(err.Error(), ", error: ")
	if n, _ := fmt.Sscanf(err.Error(), "sending block %d: code=%d,", &block, &e.Code); ok && n == 2 {
		e.Text = parseError(appendError(nil, &Error{Text: text})).Text
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// exactly reads as many bytes as there must be, until it is stopped.
type exactly struct {
	mu   sync.Mutex
	r    io.Reader
	left int64 // -1: until the end
	n    int64
	err  error
}

var errStopped = errors.New("transfer was cancelled")

func (e *exactly) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.r = nil
}

func (e *exactly) Read(p []byte) (int, error) {
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
