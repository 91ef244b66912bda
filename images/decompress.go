package images

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// What a decoder may take of a device's memory, which is at least 96 MiB. zstd -19
// needs 8 MiB and zstd --long=27 the whole bound. So does xz -9.
const (
	maxZstdWindow = 128 << 20
	maxXZDict     = 64 << 20
)

// A format is one way in which an image is stored.
type format struct {
	name  string
	magic string
	most  int64                                                         // bytes of its window or dictionary
	open  func(br *bufio.Reader, most int64) (io.Reader, func(), error) // nil if it cannot be read
}

// formats are tried in order. What matches none is a raw image. Formats that
// cannot be read are listed so that they are not taken for raw images.
var formats = []format{
	{"zstd", "\x28\xb5\x2f\xfd", maxZstdWindow, openZstd},
	{"gzip", "\x1f\x8b", 32 << 10, openGzip},
	{"xz", "\xfd7zXZ\x00", maxXZDict, openXZ},
	{"bzip2", "BZh", 0, nil},
	{"lz4", "\x04\x22\x4d\x18", 0, nil},
	{"lzip", "LZIP", 0, nil},
	{"zip", "PK\x03\x04", 0, nil},
	{"7z", "7z\xbc\xaf\x27\x1c", 0, nil},
}

// skippable follows a byte of 0x50 to 0x5f at the start of a zstd frame without
// image bytes (RFC 8878 section 3.1.2). pzstd begins files with one.
const skippable = "\x2a\x4d\x18"

// Decompress returns a reader of the raw image in a stored one. The first bytes
// tell the format: zstd, gzip, xz, or otherwise a raw image. Several frames or
// streams in a row are one image.
//
// A stream that ends early gives io.ErrUnexpectedEOF. Bytes after its end are an
// error. A cut exactly between two frames goes unnoticed here, so a manifest has
// the sizes. Errors of r are returned unchanged. io.EOF comes only after r's.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	return decompress(r, maxZstdWindow)
}

// DecompressWithin is Decompress for a machine that has so many bytes of memory
// for the format's window or dictionary. An image that needs more is an error.
func DecompressWithin(r io.Reader, memory int64) (io.ReadCloser, error) {
	return decompress(r, max(memory, 64<<10))
}

type stream struct {
	name  string // of the format, "" for a raw image
	most  int64  // limit of its window or dictionary, in bytes
	src   *source
	br    *bufio.Reader
	dec   io.Reader
	close func()
	err   error // sticky
}

func decompress(r io.Reader, memory int64) (*stream, error) {
	src := &source{r: r}
	s := &stream{src: src, br: bufio.NewReaderSize(src, 128<<10), close: func() {}}
	s.dec = s.br
	head, _ := s.br.Peek(6)
	if src.failed() {
		return nil, src.err
	}
	f, cut := recognise(string(head))
	if cut {
		return nil, fmt.Errorf("decompress: the image ends after %d bytes: %w", len(head), io.ErrUnexpectedEOF)
	}
	if f == nil {
		return s, nil
	}
	s.name, s.most = f.name, min(f.most, memory)
	if f.open == nil {
		return nil, fmt.Errorf("decompress: the image is compressed with %s; zstd, gzip and xz can be read", f.name)
	}
	dec, closer, err := f.open(s.br, s.most)
	if err != nil {
		return nil, s.explain(err)
	}
	s.dec, s.close = dec, closer
	return s, nil
}

// recognise finds the format by the first bytes. It is nil for a raw image. cut
// means that there are too few bytes to tell.
func recognise(head string) (f *format, cut bool) {
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1:4] == skippable {
		return &formats[0], false
	}
	for i := range formats {
		m := formats[i].magic
		if strings.HasPrefix(head, m) {
			return &formats[i], false
		}
		if len(head) < len(m) && strings.HasPrefix(m, head) {
			cut = true
		}
	}
	return nil, cut
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.dec.Read(p)
	if err != nil {
		s.err = s.explain(err)
	}
	return n, s.err
}

func (s *stream) Close() error {
	s.close()
	s.close = func() {}
	return nil
}

// explain returns what a decoder's error means. Decoders take some errors of
// their source for an end, so those are looked at first.
func (s *stream) explain(err error) error {
	if s.src.failed() {
		return s.src.err
	}
	if s.name == "" {
		return err
	}
	switch {
	case err == io.EOF:
		if _, err := s.br.Peek(1); err == nil {
			return fmt.Errorf("decompress %s: something follows the image's end", s.name)
		}
		if s.src.failed() {
			return s.src.err
		}
		return io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf) && s.src.err == io.EOF:
		err = io.ErrUnexpectedEOF
	// A frame of a single segment has a size and no window.
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("its window is larger than %s", limitText(s.most, maxZstdWindow))
	case errors.Is(err, xz.ErrMemlimit):
		err = fmt.Errorf("its dictionary is larger than %s", limitText(s.most, maxXZDict))
	}
	return fmt.Errorf("decompress %s: %w", s.name, err)
}

// limitText writes a limit in MiB. It says whether the limit is this machine's or
// that of all machines.
func limitText(most, all int64) string {
	if most < all {
		return fmt.Sprintf("the %.1f MiB of memory that this machine has left for it", float64(most)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", all>>20)
}

// A source remembers how its reader ended.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.err = err
	return n, err
}

func (s *source) failed() bool { return s.err != nil && s.err != io.EOF }

func openZstd(br *bufio.Reader, most int64) (io.Reader, func(), error) {
	d, err := zstd.NewReader(br,
		zstd.WithDecoderConcurrency(1), // its read-ahead would hold windows, not blocks
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(most)))
	if err != nil {
		return nil, nil, err
	}
	return d, d.Close, nil
}

func openXZ(br *bufio.Reader, most int64) (io.Reader, func(), error) {
	d, err := xz.NewReader(br, uint32(most))
	return d, func() {}, err
}

// openGzip goes from member to member itself. If a file ends in a later member's
// header, the decoder would take that for the end of the image.
func openGzip(br *bufio.Reader, _ int64) (io.Reader, func(), error) {
	z, err := gzip.NewReader(br)
	if err != nil {
		return nil, nil, noEOF(err)
	}
	z.Multistream(false)
	return &members{br, z}, func() {}, nil
}

type members struct {
	br *bufio.Reader
	z  *gzip.Reader
}

func (m *members) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if err != io.EOF {
		return n, err
	}
	if _, err := m.br.Peek(1); err != nil {
		return n, err
	}
	if err := m.z.Reset(m.br); err != nil {
		return n, noEOF(err)
	}
	m.z.Multistream(false)
	return n, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
