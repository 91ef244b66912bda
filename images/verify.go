package images

import (
	"fmt"
	"io"
)

// A Mismatch says that a stored image is not the one of its manifest. Where
// bytes are missing it is an io.ErrUnexpectedEOF.
type Mismatch struct {
	Got  Sum // SHA256 is "" where only the size is known
	Want Sum
}

func (m *Mismatch) Error() string {
	switch {
	case m.Truncated():
		return fmt.Sprintf("the image is truncated: %d of %d bytes came: %v", m.Got.Size, m.Want.Size, io.ErrUnexpectedEOF)
	case m.Got.SHA256 == "":
		return fmt.Sprintf("the image is corrupt: %d bytes came, the manifest says %d", m.Got.Size, m.Want.Size)
	}
	return fmt.Sprintf("the image is corrupt: %d bytes with sha256 %s came, the manifest says %d with %s",
		m.Got.Size, m.Got.SHA256, m.Want.Size, m.Want.SHA256)
}

// Unwrap makes errors.Is(err, io.ErrUnexpectedEOF) true of a truncated image.
func (m *Mismatch) Unwrap() error {
	if m.Truncated() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Truncated reports whether bytes are missing.
func (m *Mismatch) Truncated() bool { return m.Got.Size < m.Want.Size }

// Verifying returns a reader of r's bytes. It hashes them once, on their way.
// Where they are not what want says it ends with a *Mismatch, not with io.EOF.
func Verifying(r io.Reader, want Sum) io.Reader {
	return &verifying{r: r, sum: NewSummer(), want: want}
}

type verifying struct {
	r    io.Reader
	sum  *Summer
	want Sum
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF {
		if got := v.sum.Sum(); got != v.want {
			err = &Mismatch{Got: got, Want: v.want}
		}
	}
	return n, err
}
