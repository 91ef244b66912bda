package main

import (
	"bytes"
	"flag"
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
		{"binary", 2, "-o FILE"},
		{"binary -o x --source /", 1, "go.mod"},
	} {
		var stderr bytes.Buffer
		got := run(t.Context(), strings.Fields(tt.args), &stderr)
		if got != tt.status || !strings.Contains(stderr.String(), tt.says) {
			t.Errorf("mkboot %s: status %d, says %q; want %d, %q", tt.args, got, stderr.String(), tt.status, tt.says)
		}
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
