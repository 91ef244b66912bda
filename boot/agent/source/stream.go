package source

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/images"
)

// A Fetch writes a stored image to w, compressed as it is, from first to last
// byte. It ends when ctx does or w fails. Its nil means that all bytes came and
// that their digest is right. An error with an images.Mismatch in it counts as
// the end of the bytes. Decoding what came may tell more.
type Fetch func(ctx context.Context, w io.Writer) error

// Stream is the producer that takes the stored image from first to last byte. It
// decompresses it and writes what is missing. After an error it may run again,
// and finds what is there already.
//
// Fetching, decompressing and writing overlap. There is a MiB between the first
// two, and three blocks between the others. memory bounds the decoder's window
// in bytes. 0 is what every image may ask for, see images.Decompress.
func Stream(fetch Fetch, memory int64) flash.Producer {
	return func(ctx context.Context, j *flash.Job) error {
		err := stream(ctx, j, fetch, memory)
		if err != nil {
			return fmt.Errorf("flash: %w", err)
		}
		return nil
	}
}

func stream(parent context.Context, j *flash.Job, fetch Fetch, memory int64) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	p := newPipe()
	defer context.AfterFunc(ctx, func() { p.closeRead(context.Cause(ctx)) })()

	want := j.Manifest().Stored
	var came counter
	var wrong *images.Mismatch // what came is not the stored image
	fetched := make(chan struct{})
	go func() {
		defer close(fetched)
		err := fetch(ctx, io.MultiWriter(&came, p))
		if errors.As(err, &wrong) {
			err = nil
		} else if err == nil && int64(came) != want.Size {
			wrong = &images.Mismatch{Got: images.Sum{Size: int64(came)}, Want: want}
		}
		p.closeWrite(err)
	}()
	err := decode(ctx, j, p, memory)
	if err != nil {
		cancel()
		p.closeRead(err)
	}
	<-fetched

	var failed fetchError
	switch {
	case parent.Err() != nil:
		return context.Cause(parent)
	case errors.As(err, &failed):
		return fmt.Errorf("fetch image: %w", failed.error)
	case wrong != nil && wrong.Truncated() && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)):
		return wrong
	case err != nil:
		return err
	case wrong != nil:
		return wrong
	}
	return nil
}

// decode takes the stored image from r and brings its blocks to the job.
func decode(ctx context.Context, j *flash.Job, r io.Reader, memory int64) error {
	open := images.Decompress
	if memory > 0 {
		open = func(r io.Reader) (io.ReadCloser, error) { return images.DecompressWithin(r, memory) }
	}
	d, err := open(r)
	if err != nil {
		return err
	}
	defer d.Close()
	return images.Cut(ctx, d, j.WriteBlock)
}

// A counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
