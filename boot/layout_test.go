package boot_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bootlace/bootlace/"

// The two halves, by the packages under boot/ that belong to them. What is in
// neither list belongs to both, and imports neither.
var (
	serving = []string{"appliance", "config", "dhcp", "ftp", "journal", "lease", "limit", "registry", "store", "web"}
	device  = []string{"agent", "efi", "flash", "kexec", "pull"}
)

// Imports point downwards: cmd, boot/*, boot, images, board; and the serving
// half and the device half never import each other.
func TestLayout(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from, ok := strings.CutPrefix(words[0], module)
		if !ok {
			continue
		}
		seen[strings.TrimPrefix(from, "boot/")] = true
		for _, to := range words[1:] {
			to, ok := strings.CutPrefix(to, module)
			if !ok {
				continue
			}
			if floor(to) > floor(from) {
				t.Errorf("%s imports %s: that points upwards", from, to)
			}
			if a, b := half(from), half(to); from != to && a != b && b != "both" && a != "cmd" {
				t.Errorf("%s (%s) imports %s (%s)", from, a, to, b)
			}
		}
	}
	for _, name := range slices.Concat(serving, device) {
		if !seen[name] {
			t.Errorf("boot/%s is listed here and is not there", name)
		}
	}
}

// floor counts from the ground.
func floor(pkg string) int {
	switch {
	case strings.HasPrefix(pkg, "cmd/"):
		return 4
	case strings.HasPrefix(pkg, "boot/"):
		return 3
	case pkg == "boot":
		return 2
	case pkg == "images" || strings.HasPrefix(pkg, "images/"):
		return 1
	}
	return 0 // board
}

func half(pkg string) string {
	name, ok := strings.CutPrefix(pkg, "boot/")
	switch {
	case strings.HasPrefix(pkg, "cmd/"):
		return "cmd"
	case ok && slices.Contains(serving, name):
		return "serving"
	case ok && slices.Contains(device, name):
		return "device"
	}
	return "both"
}
