package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bootlace/bootlace/images"
)

// Write flashes an image: Begin, Stream, Finish. stored writes the stored
// image, compressed as it is, to w from first to last byte; it ends when ctx
// does or w fails. Only a nil error means that the disk holds the image.
func Write(ctx context.Context, dev Device, m *images.Manifest, stored func(ctx context.Context, w io.Writer) error, opt Options) (Result, error) {
	j, err := Begin(ctx, dev, m, opt)
	if err != nil {
		return Result{}, err
	}
	if !j.Complete() {
		if err := j.Stream(ctx, stored); err != nil {
			return j.res, err
		}
	}
	return j.Finish(ctx)
}

// Stream is a producer of blocks: it takes the stored image from first to
// last byte, decompresses it and writes what is missing. After an error it
// may be called again, and finds what is there already.
//
// Fetching, decompressing and writing overlap, with a MiB between the first
// two and three blocks between the others.
func (j *Job) Stream(ctx context.Context, stored func(ctx context.Context, w io.Writer) error) error {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPipe()
	defer context.AfterFunc(ctx, func() { p.closeRead(context.Cause(ctx)) })()

	came := images.NewSummer()
	fetched := make(chan struct{})
	go func() {
		defer close(fetched)
		p.closeWrite(stored(ctx, io.MultiWriter(came, p)))
	}()
	err := j.consume(ctx, p)
	if err != nil {
		cancel()
		p.closeRead(err)
	}
	<-fetched

	var fetch fetchError
	got, want := came.Sum(), j.m.Stored
	switch {
	case parent.Err() != nil:
		return fmt.Errorf("flash: %w", context.Cause(parent))
	case errors.As(err, &fetch):
		return fmt.Errorf("flash: fetch image: %w", fetch.error)
	case p.whole() && got.Size < want.Size && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)):
		return fmt.Errorf("flash: the image is truncated: %d of %d bytes came: %w", got.Size, want.Size, io.ErrUnexpectedEOF)
	case err != nil:
		return fmt.Errorf("flash: %w", err)
	case got != want:
		return fmt.Errorf("flash: the image is corrupt: %d bytes with sha256 %s came, the manifest says %d with %s",
			got.Size, got.SHA256, want.Size, want.SHA256)
	}
	return nil
}

func (j *Job) consume(ctx context.Context, r io.Reader) error {
	open := images.Decompress
	if j.opt.Memory > 0 {
		open = func(r io.Reader) (io.ReadCloser, error) { return images.DecompressWithin(r, j.opt.Memory) }
	}
	d, err := open(r)
	if err != nil {
		return err
	}
	defer d.Close()
	return images.Cut(ctx, d, func(i int, data []byte) error {
		if err := j.WriteBlock(i, data); err != nil {
			return err
		}
		j.mu.Lock()
		done := j.done
		j.mu.Unlock()
		j.opt.Progress(StageWrite, done, j.m.Raw.Size)
		return nil
	})
}

// fetchError is an error of the producer's, as it comes out of the pipe.
type fetchError struct{ error }

// A pipe is an io.Pipe with room in it, so that the network goes on while the
// decoder works.
type pipe struct {
	mu      sync.Mutex
	change  sync.Cond
	buf     []byte // a ring
	at, n   int    // where its n bytes begin
	readErr error  // what a Write gets, once nobody reads
	end     error  // what a Read gets when the ring is empty
}

func newPipe() *pipe {
	p := &pipe{buf: make([]byte, 1<<20)}
	p.change.L = &p.mu
	return p
}

func (p *pipe) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		for p.n == len(p.buf) && p.readErr == nil {
			p.change.Wait()
		}
		if p.readErr != nil {
			return n, p.readErr
		}
		to := (p.at + p.n) % len(p.buf)
		k := copy(p.buf[to:min(len(p.buf), to+len(p.buf)-p.n)], b)
		p.n += k
		n += k
		b = b[k:]
		p.change.Broadcast()
	}
	return n, nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n == 0 && p.end == nil && p.readErr == nil {
		p.change.Wait()
	}
	if p.readErr != nil {
		return 0, p.readErr
	}
	if p.n == 0 {
		return 0, p.end
	}
	n := copy(b, p.buf[p.at:min(len(p.buf), p.at+p.n)])
	p.at = (p.at + n) % len(p.buf)
	p.n -= n
	p.change.Broadcast()
	return n, nil
}

// closeWrite ends the stream: with EOF, or with why it is not whole.
func (p *pipe) closeWrite(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end = io.EOF; err != nil {
		p.end = fetchError{err}
	}
	p.change.Broadcast()
}

// closeRead fails both ends.
func (p *pipe) closeRead(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readErr == nil {
		p.readErr = err
	}
	p.change.Broadcast()
}

// whole reports whether the producer came to its end without an error.
func (p *pipe) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end == io.EOF
}
