package tftp

import (
	"io"
	"sync"

	"github.com/pin/tftp/v3/netascii"
)

// netasciiSource is a text with the line ends of RFC 764, whose size shows at
// its end.
func netasciiSource(src *Source) *Source {
	r := &netasciiReader{src: src}
	return &Source{ReaderAt: r, Size: -1, Close: src.Close, Windowsize: src.Windowsize}
}

// A netasciiReader encodes a file as it is read. Reads that follow one another
// cost no more than that; any other begins at the file's start again.
type netasciiReader struct {
	mu  sync.Mutex
	src *Source
	r   io.Reader
	pos int64
}

func (r *netasciiReader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.r == nil || off < r.pos {
		r.r, r.pos = netascii.ToReader(io.NewSectionReader(r.src, 0, r.src.Size)), 0
	}
	if off > r.pos {
		n, err := io.CopyN(io.Discard, r.r, off-r.pos)
		if r.pos += n; err != nil {
			return 0, err
		}
	}
	n, err := io.ReadFull(r.r, p)
	r.pos += int64(n)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}
