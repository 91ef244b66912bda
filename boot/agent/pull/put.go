package pull

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot/tftp/upload"
)

// A putter sends size bytes of r to where u says. It returns nil once the
// server has confirmed them all.
type putter func(ctx context.Context, p *Puller, u *url.URL, r io.Reader, size int64) error

// putters stand apart from protocols, so that a program that never calls Put
// does not hold them. A device's firmware is one.
var putters = map[string]putter{
	"ftp": putFTP, "ftps": putFTP,
	"http": putHTTP, "https": putHTTP,
	"tftp": putTFTP,
}

// Put sends the size bytes of r to a URL. It tries once: what a server makes
// of half a file is its own affair. fs.ErrPermission is a server that takes no
// uploads, or not this one.
func (p *Puller) Put(ctx context.Context, target string, r io.Reader, size int64) error {
	u, err := fileURL(target, "")
	if err != nil {
		return err
	}
	put, ok := putters[u.Scheme]
	if !ok {
		return noProtocol(u)
	}
	ctx, stall := watch(ctx, p.timing().Stall)
	defer stall.end()
	start := time.Now()
	body := &countedBody{r: r, moved: func(done int64) {
		stall.reset()
		if p.Progress != nil {
			p.Progress(u.Scheme, done, size)
		}
	}}
	if err = guard(func() error { return put(ctx, p, u, body, size) }); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	done := body.end()
	if err == nil && done != size {
		err = fmt.Errorf("%d bytes were sent of %d", done, size)
	}
	if p.Notify != nil {
		p.Notify(Attempt{Proto: u.Scheme, Source: u.Redacted(), To: done, Err: err, Took: time.Since(start)})
	}
	return err
}

// A countedBody counts what is read from it. net/http may go on reading a body after
// the answer has come. So end stops all reads before Put returns.
type countedBody struct {
	mu    sync.Mutex
	r     io.Reader
	done  int64
	moved func(done int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, io.ErrClosedPipe
	}
	n, err := b.r.Read(p)
	b.done += int64(n)
	b.moved(b.done)
	return n, err
}

// end lets nobody read any more and returns how much was read.
func (b *countedBody) end() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
	return b.done
}

func putTFTP(ctx context.Context, p *Puller, u *url.URL, r io.Reader, size int64) error {
	server, err := resolve(ctx, u, 69)
	if err != nil {
		return err
	}
	_, err = upload.Put(ctx, &p.TFTP, server, tftpName(u), r, size)
	return err
}

// putFTP stores the file and asks for its size afterwards. A server with a full
// disk has been seen to answer 226.
func putFTP(ctx context.Context, p *Puller, u *url.URL, r io.Reader, size int64) error {
	c, err := p.dialFTP(ctx, u, 0)
	if err != nil {
		return ftpError(err)
	}
	defer c.Quit()
	if err := c.Stor(ftpName(u), r); err != nil {
		return ftpPutError("STOR", err)
	}
	if got, err := c.FileSize(ftpName(u)); err == nil && got != size {
		return fmt.Errorf("server has %d bytes of %d: %w", got, size, ErrCorrupt)
	}
	return nil
}

func putHTTP(ctx context.Context, p *Puller, u *url.URL, r io.Reader, size int64) error {
	// NopCloser: the file belongs to the caller. A reader that cannot be had
	// again also keeps the client from sending it twice.
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), io.NopCloser(r))
	if err != nil {
		return err
	}
	if req.ContentLength = size; size == 0 {
		req.Body = http.NoBody
	}
	// A server that refuses and closes while we still send would only be a reset.
	req.Header.Set("Expect", "100-continue")
	res, err := p.do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return statusError(res.StatusCode)
	}
	return nil
}
