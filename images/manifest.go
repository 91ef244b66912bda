package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

const (
	// ManifestSuffix follows the image's name in the name of its manifest.
	ManifestSuffix = ".manifest"

	// ManifestVersion is the v of the manifests written here.
	ManifestVersion = 1

	// BlockSize is how many raw bytes a block holds; only the last may be shorter.
	BlockSize = 1 << 20

	// MaxBlocks bounds an image: 128 GiB raw.
	MaxBlocks = 1 << 17

	// MaxManifest bounds an encoded manifest in bytes. MaxBlocks rows fit, as
	// the longest is under 220 bytes.
	MaxManifest = 32 << 20
)

// A Sum is what a whole stream must be.
type Sum struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex
}

// A Span is a range of bytes of the stored file.
type Span struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// A Block is one piece of the raw image. Offset and Length are in bytes of the
// raw image. Blocks follow each other without gaps.
type Block struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
	Hole   bool   `json:"hole,omitempty"`   // all bytes are zero
	Stored *Span  `json:"stored,omitempty"` // its own range of the stored file; nil if it has none
}

// A Manifest says what a stored image and the raw image inside it must be.
type Manifest struct {
	V      int     `json:"v"`
	Stored Sum     `json:"stored"`
	Raw    Sum     `json:"raw"`
	Blocks []Block `json:"blocks"`
}

// Encode writes the manifest as JSON, one block a line. Equal manifests give
// equal bytes, and so equal digests.
func (m *Manifest) Encode() []byte {
	var b bytes.Buffer
	row := func(before string, v any) {
		j, err := json.Marshal(v)
		if err != nil {
			panic(err) // integers, booleans and strings
		}
		b.WriteString(before)
		b.Write(j)
	}
	fmt.Fprintf(&b, `{"v":%d`, m.V)
	row(",\n\"stored\":", m.Stored)
	row(",\n\"raw\":", m.Raw)
	b.WriteString(",\n\"blocks\":[")
	for i, bl := range m.Blocks {
		sep := ",\n"
		if i == 0 {
			sep = "\n"
		}
		row(sep, bl)
	}
	b.WriteString("\n]}\n")
	return b.Bytes()
}

// ParseManifest reads what Encode wrote. It refuses unknown versions and keys, and
// what Check refuses.
func ParseManifest(raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("parse manifest: larger than %d bytes", MaxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	m := new(Manifest)
	if err := d.Decode(m); err != nil {
		// A newer version may have other keys. Then the version is the reason.
		var v struct{ V int }
		if json.Unmarshal(raw, &v) == nil && v.V != ManifestVersion {
			return nil, fmt.Errorf("parse manifest: v %d is not known here, want %d", v.V, ManifestVersion)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("parse manifest: something follows its end")
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

// Check reports a contradiction in a manifest: blocks that do not exactly cover
// the raw image, malformed digests, holes whose digest is not that of zeros.
func (m *Manifest) Check() error {
	switch {
	case m.V != ManifestVersion:
		return fmt.Errorf("v %d is not known here, want %d", m.V, ManifestVersion)
	case m.Stored.Size <= 0 || m.Raw.Size <= 0:
		return errors.New("the image is empty")
	case m.Raw.Size > MaxBlocks*BlockSize:
		return fmt.Errorf("raw image of %d bytes is larger than the %d that fit a manifest", m.Raw.Size, int64(MaxBlocks*BlockSize))
	case !IsDigest(m.Stored.SHA256) || !IsDigest(m.Raw.SHA256):
		return errors.New("sha256 is not 64 lower-case hex digits")
	case int64(len(m.Blocks)) != (m.Raw.Size+BlockSize-1)/BlockSize:
		return fmt.Errorf("%d blocks do not cover %d bytes", len(m.Blocks), m.Raw.Size)
	}
	for i, b := range m.Blocks {
		off := int64(i) * BlockSize
		switch {
		case b.Offset != off || b.Length != min(BlockSize, m.Raw.Size-off):
			return fmt.Errorf("block %d: offset %d, length %d do not continue the image", i, b.Offset, b.Length)
		case !IsDigest(b.SHA256):
			return fmt.Errorf("block %d: sha256 is not 64 lower-case hex digits", i)
		case b.Hole && b.SHA256 != zeroDigest(b.Length):
			return fmt.Errorf("block %d: a hole whose digest is not that of zeros", i)
		case b.Stored != nil && !b.Stored.within(m.Stored.Size):
			return fmt.Errorf("block %d: lies outside the stored file", i)
		}
	}
	return nil
}

func (s *Span) within(size int64) bool {
	return s.Offset >= 0 && s.Length > 0 && s.Offset <= size && s.Length <= size-s.Offset
}

// Check reports whether data are the block's bytes. Fewer bytes give
// io.ErrUnexpectedEOF.
func (b *Block) Check(data []byte) error {
	if n := int64(len(data)); n < b.Length {
		return fmt.Errorf("%d bytes, the manifest says %d: %w", n, b.Length, io.ErrUnexpectedEOF)
	}
	if int64(len(data)) != b.Length {
		return fmt.Errorf("%d bytes, the manifest says %d", len(data), b.Length)
	}
	if b.Hole {
		if !IsZero(data) {
			return errors.New("holds data where the manifest says there are zeros")
		}
		return nil
	}
	if got := Digest(data); got != b.SHA256 {
		return fmt.Errorf("sha256 is %s, the manifest says %s", got, b.SHA256)
	}
	return nil
}

// Digest returns the SHA-256 of raw in lower-case hex.
func Digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

var zeros [64 << 10]byte

// IsZero reports whether data holds nothing but zero bytes.
func IsZero(data []byte) bool {
	for len(data) > len(zeros) {
		if !bytes.Equal(data[:len(zeros)], zeros[:]) {
			return false
		}
		data = data[len(zeros):]
	}
	return bytes.Equal(data, zeros[:len(data)])
}

var zeroBlock = sync.OnceValue(func() string { return Digest(make([]byte, BlockSize)) })

func zeroDigest(n int64) string {
	if n == BlockSize {
		return zeroBlock()
	}
	return Digest(make([]byte, n))
}

// IsDigest reports whether s is a SHA-256 as Digest writes it.
func IsDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
