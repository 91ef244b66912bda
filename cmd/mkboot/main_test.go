package main

import (
	"bytes"
	"flag"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

func TestUsage(t *testing.T) {
	name := board.Boards[0].Name
	for _, tt := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "usage: mkboot"},
		{"help", 0, "build"},
		{"fly", 2, `unknown command "fly"`},
		{"boards", 0, ""},
		{"boards x", 2, "no arguments"},
		{"build", 2, "which board? all, or one of " + name},
		{"build " + name, 2, "-o DIR is missing"},
		{"build no-such -o x", 2, `no board "no-such"; all, or one of ` + name},
		{"build " + name + " -o x --modules m", 2, "--kernel"},
		{"build " + name + " " + name + " -o x --kernel k", 2, "one board"},
		{"build all -o x --kernel k", 2, "one board"},
		{"build " + name + " --fly", 2, "fly"},
		{"build " + name + " -o x --source /", 1, "go.mod"},
		{"kernel", 2, "which kernel? one of " + board.KernelFlavours[0].Name},
		{"kernel huge -o x", 2, "which kernel?"},
		{"kernel " + board.KernelFlavours[0].Name, 2, "-o DIR is missing"},
		{"kernel " + board.KernelFlavours[0].Name + " -o x --board toaster", 2, `no board "toaster"`},
		{"build " + name + " -o /proc/none", 1, "write firmware: "}, // before any work
		{"run rpi4", 1, "board rpi4: QEMU has no such machine"},
		{"run " + name + " --firmware uboot", 1, "does not start with uboot in QEMU"},
		{"run no-such", 2, `no board "no-such"`},
		{"binary", 2, "-o FILE"},
		{"binary -o x --source /", 1, "go.mod"},
	} {
		t.Run("mkboot "+tt.args, func(t *testing.T) {
			var stderr bytes.Buffer
			got := run(t.Context(), strings.Fields(tt.args), &stderr)
			if got != tt.status || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("status %d, says %q; want %d, %q", got, stderr.String(), tt.status, tt.says)
			}
		})
	}
}

// Every command has a line for its -h, also one without flags.
func TestCommandUsage(t *testing.T) {
	for _, c := range commands() {
		t.Run(c.name, func(t *testing.T) {
			fs := newFlags(c.name)
			fs.String("o", "", "output `DIR`")
			var out bytes.Buffer
			commandUsage(&out, fs)
			want := "usage: mkboot " + c.name + " " + c.args + "\n" + c.doc + "\n  -o DIR"
			if !strings.HasPrefix(out.String(), want) {
				t.Errorf("%q, want %q", out.String(), want)
			}
		})
	}
}

// A step's line begins with the board. Further attributes stand in brackets.
func TestStepLine(t *testing.T) {
	attrs := []slog.Attr{slog.String("board", "arm64"), slog.String("package", "linux"), slog.Int("n", 3)}
	for _, tt := range []struct {
		name  string
		level slog.Level
		attrs []slog.Attr
		want  string
	}{
		{"step", slog.LevelInfo, attrs, "arm64: unpacking (package linux, n 3)"},
		{"warning", slog.LevelWarn, attrs[:1], "arm64: warning: unpacking"},
		{"no board", slog.LevelInfo, nil, "unpacking"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stepLine(tt.level, "unpacking", tt.attrs); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	o := fs.String("o", "", "")
	rest, err := parse(fs, []string{"a", "-o", "dir", "b", "--", "-c"})
	if err != nil || *o != "dir" || !slices.Equal(rest, []string{"a", "b", "-c"}) {
		t.Errorf("rest %q, o %q, %v", rest, *o, err)
	}
}
