package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// A mistake in what a person typed is a usage error.
func TestTransferUsage(t *testing.T) {
	for _, tt := range []struct {
		command string
		run     func(context.Context, []string) error
		args    string
	}{
		{"get", runGet, ""},
		{"get", runGet, "http://h/x http://h/y"},
		{"get", runGet, "gopher://h/x"},
		{"get", runGet, "/etc/passwd"},
		{"get", runGet, "http:///x"},
		{"get", runGet, "http://h/"},
		{"get", runGet, "http://h/a/"},
		{"get", runGet, "http://h/.."},
		{"get", runGet, "-x http://h/a"},
		{"get", runGet, "--blksize 7 tftp://h/x"},
		{"get", runGet, "--blksize 65465 tftp://h/x"},
		{"get", runGet, "--blksize x tftp://h/x"},
		{"get", runGet, "--windowsize 0 tftp://h/x"},
		{"get", runGet, "--windowsize 32768 tftp://h/x"},
		{"get", runGet, "--blksize 1428 http://h/x"},
		{"get", runGet, "--windowsize 16 ftp://h/x"},
		{"put", runPut, "/etc/hostname"},
		{"put", runPut, "--windowsize 4 /etc/hostname tftp://h/"},
		{"put", runPut, "--blksize 0 /etc/hostname tftp://h/"},
		{"put", runPut, "--blksize 1428 /etc/hostname ftps://h/"},
		{"put", runPut, "/does/not/exist http://h/"},
		{"put", runPut, "/etc http://h/"},
		{"put", runPut, "/etc/hostname nowhere"},
		{"ls", runLs, ""},
		{"ls", runLs, "h"},
	} {
		t.Run(tt.command+" "+tt.args, func(t *testing.T) {
			var mistake usageError
			if err := tt.run(t.Context(), strings.Fields(tt.args)); !errors.As(err, &mistake) {
				t.Errorf("%v, want a usage error", err)
			}
		})
	}
}

// The version is a command, and a flag as in other programs.
func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version", "-version"} {
		t.Run(arg, func(t *testing.T) {
			out, err := exec.Command(binary, arg).Output()
			if err != nil || !strings.HasPrefix(string(out), "bootlace ") {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}
