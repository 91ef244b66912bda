package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/images"
)

// `bootlace flash` refuses a file that is not the one of its manifest, also
// where the raw image would be the same.
func TestFlashWrongFile(t *testing.T) {
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "lab.raw.gz"), filepath.Join(dir, "disk")
	var stored bytes.Buffer
	w := gzip.NewWriter(&stored)
	w.Write(bytes.Repeat([]byte("boot sector "), 1<<17))
	w.Close()
	good := stored.Bytes()
	write := func(name string, raw []byte) {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(image, good)
	if _, _, err := images.Add(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(good)
	altered[4] ^= 1 // the time in the header
	for _, tt := range []struct {
		name string
		file []byte
		want string // in the error, "" for none
	}{
		{"altered", altered, "the image is corrupt: "},
		{"cut", good[:len(good)/2], "the image is truncated: "},
		{"the right one", good, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(image, tt.file)
			write(disk, make([]byte, 4<<20))
			err := run(t.Context(), []string{"flash", image, disk})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			held, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			if boots := !images.IsZero(held[:512]); boots != (tt.want == "") {
				t.Errorf("the disk has a boot sector: %v", boots)
			}
		})
	}
}
