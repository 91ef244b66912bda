package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A device's firmware has no serving half and sends no files, and says so.
func TestDevice(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bootlace")
	build := exec.Command("go", "build", "-trimpath", "-tags", "device", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // as in TestMain, so that Go's cache has the most of it
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const noServing, noPut = "without the serving half; `mkboot build --serve`", "without put; `mkboot build --serve`"
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"serve", "--root", t.TempDir()}, noServing},
		{[]string{"devices"}, noServing},
		{[]string{"why", "52:54:00:00:00:01"}, noServing},
		{[]string{"put", "/etc/hostname", "tftp://127.0.0.1/x"}, noPut},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			out, err := exec.Command(program, tt.args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.says) {
				t.Errorf("%q: %v, says %q", tt.args, err, out)
			}
		})
	}
	deps, err := exec.Command("go", "list", "-tags", "device", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{"boot/appliance"} {
		if strings.Contains(string(deps), "bootlace/"+half) {
			t.Errorf("it holds %s", half)
		}
	}
}
