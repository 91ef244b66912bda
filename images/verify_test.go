package images

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestVerifying(t *testing.T) {
	good := []byte("what the manifest describes")
	want := Sum{int64(len(good)), Digest(good)}
	for _, tt := range []struct {
		name, came string
		short      bool
		text       string // of the error, "" for none
	}{
		{"the bytes", string(good), false, ""},
		{"none", "", true, "the image is truncated: 0 of 27 bytes came: unexpected EOF"},
		{"cut", string(good[:9]), true, "the image is truncated: 9 of 27 bytes came: unexpected EOF"},
		{"altered", strings.ToUpper(string(good)), false, "the image is corrupt: 27 bytes with sha256 "},
		{"more", string(good) + "x", false, "the image is corrupt: 28 bytes with sha256 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.came), iotest.DataErrReader(strings.NewReader(tt.came)), iotest.OneByteReader(strings.NewReader(tt.came))} {
				got, err := io.ReadAll(Verifying(r, want))
				if !bytes.Equal(got, []byte(tt.came)) {
					t.Errorf("read %q", got)
				}
				if (err == nil) != (tt.text == "") || err != nil && !strings.HasPrefix(err.Error(), tt.text) || errors.Is(err, io.ErrUnexpectedEOF) != tt.short {
					t.Errorf("error %v, want %q", err, tt.text)
				}
			}
		})
	}
	boom := errors.New("boom")
	if _, err := io.ReadAll(Verifying(iotest.ErrReader(boom), want)); !errors.Is(err, boom) {
		t.Errorf("the reader's own error becomes %v", err)
	}
}
