package firmware

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

// What stops the making of firmware is found before any work, and named.
func TestCheck(t *testing.T) {
	good := board.Boards[0]
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		opt   Options
		board *board.Board
		want  string
	}{
		{"all is well", Options{}, good, ""},
		{"unknown architecture", Options{}, &board.Board{Name: "x", Arch: "vax"}, "vax"},
		{"board without firmware", Options{}, &board.Board{Name: "x", Arch: "arm64", Unbuilt: "no driver"}, "no driver"},
		{"the same with a kernel of one's own", Options{Kernel: "k"}, &board.Board{Name: "x", Arch: "arm64", Unbuilt: "no driver"}, ""},
		{"no source", Options{Source: "/"}, good, "go.mod"},
		{"output below a file", Options{Dir: file}, good, "write firmware: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := tt.opt
			opt.Log = slog.New(slog.DiscardHandler)
			if opt.Source == "" {
				opt.Source = "."
			}
			if opt.Dir == "" {
				opt.Dir = t.TempDir()
			}
			s := NewBuilder(opt)
			defer s.Close()
			err := s.Check(tt.board)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(opt.Dir, "firmware", "*", ".*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	t.Run("missing programs", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		s := NewBuilder(Options{Source: ".", Dir: t.TempDir()})
		if err := s.Check(good); err == nil || !strings.Contains(err.Error(), "apt install golang-go zstd apt dpkg") {
			t.Errorf("%v", err)
		}
	})
	t.Run("missing header", func(t *testing.T) {
		got := missingNeeds([]need{{"/nonexistent/x.h", "libx-dev"}, {"/", "base-files"}})
		if !slices.Equal(got, []string{"libx-dev"}) {
			t.Errorf("%q", got)
		}
	})
}
