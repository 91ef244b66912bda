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
	return &Source{ReaderAt: r, Size: -1, Close: src.Close}
}

// A netasciiReader encodes a file as it is read. Reads that follow one another
// cost no more than that; any other begins at the file's start again.
type netasciiReader struct {
	mu   sync.Mutex
	src  *Source
	file *io.SectionReader
	r    io.Reader // of file, encoded; nil: from its start
	pos  int64     // of r
}

func (r *netasciiReader) ReadAt(p []byte, off int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.r == nil || off < r.pos {
		r.file, r.pos = io.NewSectionReader(r.src, 0, r.src.Size), 0
		r.r = netascii.ToReader(r.file)
	}
	if off > r.pos {
		var skipped int64
		skipped, err = io.CopyN(io.Discard, r.r, off-r.pos)
		r.pos += skipped
	}
	if err == nil {
		n, err = io.ReadFull(r.r, p)
		r.pos += int64(n)
	}
	switch read, _ := r.file.Seek(0, io.SeekCurrent); {
	case err == nil:
		return n, nil
	case read == r.src.Size && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return n, io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF // a file that was cut is no shorter text
	}
	r.r = nil
	return n, err
}
