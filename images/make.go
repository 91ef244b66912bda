package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Make reads a stored image once and returns its manifest. It needs memory for a
// few blocks and the decoder's window.
func Make(ctx context.Context, r io.Reader) (*Manifest, error) {
	m, err := walk(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("make manifest: %w", err)
	}
	return m, nil
}

// walk reads a stored image and returns its manifest. It calls each with every
// block, in order. each may be nil.
func walk(ctx context.Context, r io.Reader, each func(i int, b Block) error) (*Manifest, error) {
	stored := NewSummer()
	d, err := decompress(io.TeeReader(r, stored), maxZstdWindow)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	m := &Manifest{V: ManifestVersion}
	raw := NewSummer()
	err = Cut(ctx, d, func(i int, data []byte) error {
		if i >= MaxBlocks {
			return fmt.Errorf("raw image is larger than %d GiB", MaxBlocks*BlockSize>>30)
		}
		b := Block{Offset: int64(i) * BlockSize, Length: int64(len(data))}
		raw.During(data, func() {
			if b.Hole = IsZero(data); b.Hole {
				b.SHA256 = zeroDigest(b.Length)
			} else {
				b.SHA256 = Digest(data)
			}
		})
		if d.name == "" {
			b.Stored = &Span{b.Offset, b.Length}
		}
		m.Blocks = append(m.Blocks, b)
		if each != nil {
			return each(i, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(m.Blocks) == 0 {
		return nil, errors.New("the image is empty")
	}
	m.Stored, m.Raw = stored.Sum(), raw.Sum()
	return m, nil
}

// Cut reads r to its end and calls f with one block after another. All but the
// last have BlockSize bytes. If r fails, the block that it began is dropped.
//
// Cut reads up to three blocks ahead while f works. data belongs to f until f
// returns. The error is that of r, f or ctx, unchanged. Cut does not return
// before a Read of r that is under way does.
func Cut(ctx context.Context, r io.Reader, f func(i int, data []byte) error) error {
	type piece struct {
		buf *[BlockSize]byte
		n   int
		err error
	}
	const ahead = 3
	ctx, cancel := context.WithCancel(ctx)
	free, full := make(chan *[BlockSize]byte, ahead), make(chan piece, ahead)
	for range ahead {
		free <- buffers.Get().(*[BlockSize]byte)
	}
	go func() {
		defer close(full)
		for {
			select {
			case <-ctx.Done():
				return
			case buf := <-free:
				n, err := fillRecovering(r, buf[:])
				full <- piece{buf, n, err}
				if err != nil {
					return
				}
			}
		}
	}()
	defer func() {
		cancel()
		for p := range full {
			buffers.Put(p.buf)
		}
		for len(free) > 0 {
			buffers.Put(<-free)
		}
	}()
	for i := 0; ; i++ {
		p, ok := <-full
		if !ok {
			return ctx.Err()
		}
		err := ctx.Err()
		switch {
		case err != nil:
		case p.err != nil && p.err != io.EOF:
			err = p.err
		case p.n > 0:
			err = f(i, p.buf[:p.n])
		}
		free <- p.buf
		if err != nil || p.err == io.EOF {
			return err
		}
	}
}

// buffers are blocks between two cuts. A job cuts its image three times, to
// compare, to write and to verify.
var buffers = sync.Pool{New: func() any { return new([BlockSize]byte) }}

// fillRecovering is fill, but returns a panic of r as an error. r may be a decoder
// that reads a stranger's bytes, and nobody else recovers on this goroutine.
func fillRecovering(r io.Reader, buf []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("the decoder failed: %v", p)
		}
	}()
	return fill(r, buf)
}

// fill is like io.ReadFull, but returns io.EOF at the end of r, after n bytes. So
// an io.ErrUnexpectedEOF is always r's own.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

// A Summer counts and hashes what is written to it.
type Summer struct {
	n int64
	h hash.Hash
}

// NewSummer returns a Summer of nothing yet.
func NewSummer() *Summer { return &Summer{h: sha256.New()} }

func (s *Summer) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.h.Write(p)
}

// During hashes data while f runs, on another processor if there is one.
func (s *Summer) During(data []byte, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Write(data)
	}()
	f()
	<-done
}

// Sum returns the size and digest of what was written so far.
func (s *Summer) Sum() Sum {
	return Sum{Size: s.n, SHA256: hex.EncodeToString(s.h.Sum(nil))}
}
