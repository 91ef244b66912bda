package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/images"
)

// Each way to a stored image refuses wrong bytes, in words that say what is
// wrong. The altered byte is in gzip's header, where the raw image stays the
// same. The digest of the stored file alone shows it.
func TestWrongStoredBytes(t *testing.T) {
	stored, m := store(t, "gzip", rawImage(1, 2*mib))
	altered := bytes.Clone(stored)
	altered[4] ^= 1 // MTIME (RFC 1952 section 2.3)
	cut := stored[:len(stored)/2]
	size, sum := len(stored), m.Stored.SHA256

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(map[string][]byte{"/cut": cut, "/altered": altered, "/whole": stored}[r.URL.Path]))
	}))
	t.Cleanup(server.Close)
	file := func(b []byte) Fetch { // as `bootlace flash` opens one
		return func(_ context.Context, w io.Writer) error {
			_, err := io.Copy(w, images.Verifying(bytes.NewReader(b), m.Stored))
			return err
		}
	}
	pulled := func(name string) Fetch { // as the agent does
		return func(ctx context.Context, w io.Writer) error {
			p := &pull.Puller{Sources: []string{server.URL + "/"}}
			return p.Fetch(ctx, pull.File{Name: name, Size: m.Stored.Size, SHA256: sum}, w)
		}
	}
	truncated := fmt.Sprintf("flash: the image is truncated: %d of %d bytes came: unexpected EOF", len(cut), size)
	for _, tt := range []struct {
		name  string
		fetch Fetch
		want  error  // wrapped
		text  string // all of it
	}{
		{"a stream without a digest, cut", from(cut), io.ErrUnexpectedEOF, truncated},
		{"file, cut", file(cut), io.ErrUnexpectedEOF, truncated},
		{"file, altered", file(altered), nil,
			fmt.Sprintf("flash: the image is corrupt: %d bytes with sha256 %s came, the manifest says %d with %s", size, images.Digest(altered), size, sum)},
		{"pulled, cut", pulled("cut"), pull.ErrCorrupt,
			fmt.Sprintf("flash: fetch image: fetch cut: http: server has %d bytes, want %d: %v", len(cut), size, pull.ErrCorrupt)},
		{"pulled, altered", pulled("altered"), pull.ErrCorrupt,
			fmt.Sprintf("flash: fetch image: fetch altered: http: all %d bytes came, their SHA-256 is %s, want %s: %v", size, images.Digest(altered), sum, pull.ErrCorrupt)},
		{"file, whole", file(stored), nil, ""},
		{"pulled, whole", pulled("whole"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev, _ := blank(t, 4*mib)
			_, err := flash.Write(t.Context(), dev, m, Stream(tt.fetch, 0), flash.Options{})
			if tt.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != tt.text || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.text)
			}
			wantUnbootable(t, "then", dev)
		})
	}
}
