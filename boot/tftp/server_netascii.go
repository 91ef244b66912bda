package tftp

import (
	"bufio"
	"io"
	"sync"
)

// netasciiSource is a text with the line ends of RFC 764. Its size shows at its
// end.
func netasciiSource(src *Source) *Source {
	r := &netasciiReader{src: src}
	return &Source{ReaderAt: r, Size: -1, Close: src.Close}
}

// A netasciiReader encodes a file as it is read. Reads that follow one another
// cost no more than that. Any other begins at the file's start again.
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
		r.r = &netasciiEncoder{r: bufio.NewReader(r.file)}
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

// A netasciiEncoder makes CR LF of LF, and CR NUL of CR.
type netasciiEncoder struct {
	r      io.ByteReader
	second byte // of a pair whose first byte was read
	paired bool // there is one
}

func (e *netasciiEncoder) Read(p []byte) (n int, err error) {
	for ; n < len(p); n++ {
		if e.paired {
			p[n], e.paired = e.second, false
			continue
		}
		b, err := e.r.ReadByte()
		if err != nil {
			return n, err
		}
		switch b {
		case '\n':
			p[n], e.second, e.paired = '\r', '\n', true
		case '\r':
			p[n], e.second, e.paired = '\r', 0, true
		default:
			p[n] = b
		}
	}
	return n, nil
}
