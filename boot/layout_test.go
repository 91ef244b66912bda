package boot_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bootlace/bootlace/"

// The rules of the layout. Each looks at import paths alone, so that a new
// package is held by where it lies.
const (
	maxImports = 5 // of our own packages, by one that only does its own job
	maxDepth   = 6 // packages on a chain of imports below cmd
)

// wires are the packages whose job is to put others together.
var wires = []string{"boot/appliance", "boot/agent", "boot/appliance/config"}

// pure packages decide and print. They import none that does I/O.
var pure = []string{"boot/appliance/policy", "boot/appliance/loaders", "boot/appliance/verdict"}

// alone are tools that anything may use, so they use nothing of ours.
var alone = []string{"boot/udp", "boot/wire", "boot/human", "boot/appliance/limit"}

// protocols are servers of their own, which know nothing of each other.
var protocols = []string{"dhcp", "dhcp6", "ra", "ftp", "sftp", "web", "metrics", "notify", "orders"}

// TestLayout holds what may import what.
func TestLayout(t *testing.T) {
	imports := ownImports(t)
	for from, list := range imports {
		for _, to := range list {
			if why := forbidden(from, to); why != "" {
				t.Errorf("%s imports %s: %s", from, to, why)
			}
		}
		if len(list) > maxImports && !in(from, "cmd") && !slices.Contains(wires, from) {
			t.Errorf("%s imports %d packages of ours, more than %d: %v", from, len(list), maxImports, list)
		}
		if chain := deepest(imports, from); len(chain) > maxDepth && !in(from, "cmd") {
			t.Errorf("%s is %d packages deep, more than %d: %v", from, len(chain), maxDepth, chain)
		}
	}
	for _, name := range slices.Concat(wires, pure, alone) {
		if _, ok := imports[name]; !ok {
			t.Errorf("a rule names %s, which is not there", name)
		}
	}
}

// forbidden says why one package may not import another, "" where it may.
func forbidden(from, to string) string {
	room, serving := strings.CutPrefix(to, "boot/appliance/")
	switch {
	case in(to, "cmd"):
		return "nothing imports a command"
	case in(from, "cmd"):
		return ""
	case from == "board" || from == "images":
		return "it imports nothing of ours"
	case half(to) != "" && half(to) != half(from):
		return fmt.Sprintf("only cmd knows the %s half from outside", half(to))
	case to == "boot/appliance" || to == "boot/agent":
		return "a room never imports the root of its half"
	case from == "boot" && in(to, "boot"):
		return "boot holds the nouns that all others use"
	case slices.Contains(alone, from):
		return "it is a tool, and imports nothing of ours"
	case slices.Contains(pure, from) && serving && !slices.Contains(pure, to):
		return "it is pure, and that does I/O"
	case slices.Contains(protocols, strings.TrimPrefix(from, "boot/appliance/")) && serving && slices.Contains(protocols, room):
		return "servers of protocols do not know each other"
	case in(from, "boot") && (in(to, "board/lab") || in(to, "images/firmware")):
		return "what makes firmware is not in it"
	}
	return ""
}

// half names the half that a package belongs to, "" for what both share.
func half(pkg string) string {
	switch {
	case in(pkg, "boot/appliance"):
		return "serving"
	case in(pkg, "boot/agent"):
		return "device"
	}
	return ""
}

// in reports whether a package is the folder or lies below it.
func in(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

// deepest is the longest chain of imports that begins with a package.
func deepest(imports map[string][]string, from string) []string {
	var longest []string
	for _, to := range imports[from] {
		if chain := deepest(imports, to); len(chain) > len(longest) {
			longest = chain
		}
	}
	return append([]string{from}, longest...)
}

// ownImports is what each package of ours imports of ours, without tests.
func ownImports(t *testing.T) map[string][]string {
	imports := map[string][]string{}
	for line := range strings.Lines(goList(t, `{{.ImportPath}} {{join .Imports " "}}`)) {
		words := strings.Fields(line)
		from, ok := strings.CutPrefix(words[0], module)
		if !ok {
			continue
		}
		imports[from] = nil
		for _, to := range words[1:] {
			if to, ok := strings.CutPrefix(to, module); ok {
				imports[from] = append(imports[from], to)
			}
		}
	}
	return imports
}

// TestUploadLibrary holds that one folder knows the library of uploads.
func TestUploadLibrary(t *testing.T) {
	const library, folder = "github.com/pin/tftp/v3", "boot/tftp/upload"
	for line := range strings.Lines(goList(t, `{{.ImportPath}} {{join .Imports " "}}`)) {
		words := strings.Fields(line)
		from := strings.TrimPrefix(words[0], module)
		if from != folder && slices.ContainsFunc(words[1:], func(p string) bool { return in(p, library) }) {
			t.Errorf("%s imports %s, which %s alone may", from, library, folder)
		}
	}
}

func goList(t *testing.T, format string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return string(out)
}
