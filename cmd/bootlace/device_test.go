package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A device's firmware has no serving half, and says so.
func TestDevice(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bootlace")
	build := exec.Command("go", "build", "-trimpath", "-tags", "device", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // as in TestMain, so that Go's cache has the most of it
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"serve", "--root", t.TempDir()}, {"devices"}, {"why", "52:54:00:00:00:01"}} {
		t.Run(args[0], func(t *testing.T) {
			out, err := exec.Command(program, args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "without the serving half; `mkboot build --serve`") {
				t.Errorf("%q: %v, says %q", args, err, out)
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
