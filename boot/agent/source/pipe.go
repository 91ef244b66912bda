package source

import (
	"io"
	"sync"
)

// fetchError is an error of the writing end, as it comes out of the pipe.
type fetchError struct{ error }

// A pipe is an io.Pipe with room in it. The network goes on while the decoder
// works.
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
