package files

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"vmlinuz", "vmlinuz", nil},
		{"/boot/vmlinuz", "boot/vmlinuz", nil},
		{`\boot\x64\boot.efi`, "boot/x64/boot.efi", nil},
		{"//grubx64.efi", "grubx64.efi", nil},
		{"./a//./b/", "a/b", nil},
		{"", ".", nil},
		{"/", ".", nil},
		{"a b/ü.img", "a b/ü.img", nil},
		{"..a/x", "", fs.ErrNotExist},
		{".hidden", "", fs.ErrNotExist},
		{"a/.git/config", "", fs.ErrNotExist},
		{"...", "", fs.ErrNotExist},
		{"../etc/passwd", "", fs.ErrInvalid},
		{"a/../../b", "", fs.ErrInvalid},
		{`a\..\b`, "", fs.ErrInvalid},
		{".a/..", "", fs.ErrInvalid},
		{"a\x00b", "", fs.ErrInvalid},
		{"a\nb", "", fs.ErrInvalid},
		{"a\x1b[2J", "", fs.ErrInvalid},
		{"\xff", "", fs.ErrInvalid},
		{strings.Repeat("a", 256), "", fs.ErrInvalid},
		{strings.Repeat("a/", 3000), "", fs.ErrInvalid},
	} {
		t.Run(fmt.Sprintf("%.40q", tt.name), func(t *testing.T) {
			got, err := Clean(tt.name)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Clean(%.40q) = %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
			}
			if err != nil && (len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x1b\x00")) {
				t.Errorf("Clean(%.40q): error %q is not fit for a log line", tt.name, err)
			}
		})
	}
}
