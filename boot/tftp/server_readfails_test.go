package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// A file that cannot be read to its end is an error, at both ends, and is read
// anew for who asks again.
func TestReadFails(t *testing.T) {
	t.Parallel()
	const good, edge = 100_000, chunkSize
	for _, tt := range []struct {
		name string
		mode string
		good int64
		fail error // nil: it was cut
		is   error
		said string
	}{
		{"I/O error", "octet", good, syscall.EIO, syscall.EIO, "transfer failed"},
		{"cut", "octet", good, nil, io.ErrUnexpectedEOF, "transfer failed"},
		{"denied", "octet", good, syscall.EACCES, syscall.EACCES, "access violation"},
		{"I/O error in text", "netascii", good, syscall.EIO, syscall.EIO, "transfer failed"},
		{"cut text", "netascii", good, nil, io.ErrUnexpectedEOF, "transfer failed"},
		{"cut text, as a tree says it", "netascii", good, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, "transfer failed"},
		{"cut between chunks", "octet", edge, nil, io.ErrUnexpectedEOF, "transfer failed"},
		{"text cut between chunks", "netascii", edge, nil, io.ErrUnexpectedEOF, "transfer failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The first chunk holds no end of a line, and so is one of text as well.
			whole := append(bytes.Repeat([]byte("x"), edge), strings.Repeat("one line of a text\n", 10_000)...)
			file := &disk{data: whole}
			var broken atomic.Bool
			broken.Store(true)
			b := serve(t, nil, func(s *Server) {
				s.Timing = noTimeouts
				opens(func(*Request) (*Source, error) {
					src := file.source("f")
					if broken.Load() {
						src.ReaderAt = cut{file, tt.good, tt.fail}
					}
					return src, nil
				})(s)
			})
			for round, window := range []int{1, 16, 64} {
				w := b.newPeer(t)
				w.send(request(opRRQ, "f", tt.mode, "windowsize", fmt.Sprint(window)))
				w.want(fmt.Appendf([]byte{0, 6}, "windowsize\x00%d\x00", window))
				w.send(ack(0))
				said := w.readUntilError(window)
				if said.Text != tt.said {
					t.Errorf("window %d: client was told %v", window, said)
				}
				if r := b.result(t, round); !errors.Is(r.Err, tt.is) {
					t.Errorf("window %d: result %v, want %v", window, r.Err, tt.is)
				}
			}
			broken.Store(false)
			if tt.mode == "octet" {
				fetch(t, b, &Client{}, "f", whole)
			} else if got := fetchText(t, b, 1, 0); got != netasciiOf(whole) {
				t.Errorf("the text is wrong once it can be read")
			}
		})
	}
}

// readUntilError acknowledges window by window until the server gives up. A
// final block fails the test.
func (w *rawPeer) readUntilError(window int) *Error {
	w.t.Helper()
	for last := uint16(0); ; {
		p := w.recv(hangGuard)
		switch block, _, _ := parseBlock(p); {
		case opcode(p) == opERROR:
			return parseError(p)
		case opcode(p) == opDATA && len(p) < headerLen+defaultBlksize:
			w.t.Fatalf("window %d: a final block came", window)
		case opcode(p) == opDATA && block == last+1:
			if last++; int(last)%window == 0 {
				w.send(ack(int(last)))
			}
		case p == nil:
			w.t.Fatalf("window %d: nothing came after block %d", window, last)
		}
	}
}

// cut is a file that ends, or fails, before its size.
type cut struct {
	io.ReaderAt
	at   int64
	fail error
}

func (c cut) ReadAt(p []byte, off int64) (int, error) {
	n, err := io.NewSectionReader(c.ReaderAt, 0, c.at).ReadAt(p, off)
	if err == io.EOF && c.fail != nil {
		err = c.fail
	}
	return n, err
}
