package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

// The Dockerfile's stages name what exists, and its build command makes a static
// binary. Docker itself is not needed.
func TestDockerfile(t *testing.T) {
	raw, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "\\\n", " ")
	stages, built, last := []string{}, "", ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch words[0] {
		case "FROM":
			last = words[1]
			if i := slices.Index(words, "AS"); i > 0 {
				stages = append(stages, words[i+1])
			}
			if toolchain, ok := strings.CutPrefix(last, "golang:"); ok && !strings.HasPrefix(toolchain, goVersion(t)) {
				t.Errorf("%s: go.mod wants %s", last, goVersion(t))
			}
		case "COPY":
			if from, ok := strings.CutPrefix(words[1], "--from="); ok {
				if !slices.Contains(stages, from) {
					t.Errorf("%q: no such stage", line)
				}
				if words[2] != built {
					t.Errorf("%q: the stage makes %s", line, built)
				}
				continue
			}
			for _, name := range words[1 : len(words)-1] {
				if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
		case "RUN":
			if i := slices.Index(words, "-o"); i > 0 {
				built = words[i+1]
				runBuild(t, words[1:])
			}
		case "ENTRYPOINT":
			if want := `["/` + path.Base(built) + `"]`; words[1] != want {
				t.Errorf("%q: want %s", line, want)
			}
		}
	}
	if last != "scratch" {
		t.Errorf("the last stage is from %q, not from scratch", last)
	}
	if built == "" {
		t.Error("no stage builds the binary")
	}
}

// goVersion is go.mod's version without a patch level.
func goVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.GoVersion}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimSpace(string(out)), ".")
	return parts[0] + "." + parts[1]
}

// architectures are those that the binary is promised for.
func architectures() (names []string) {
	for _, a := range board.Arches {
		names = append(names, a.Name)
	}
	return names
}

// runBuild runs the stage's command from the top of the tree for every
// architecture.
func runBuild(t *testing.T, words []string) {
	t.Helper()
	for _, arch := range architectures() {
		out := filepath.Join(t.TempDir(), "bootlace-"+arch)
		args := slices.Clone(words)
		args[slices.Index(args, "-o")+1] = out
		for i, w := range args {
			args[i] = strings.ReplaceAll(w, `"$TARGETARCH"`, arch)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = "../.."
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, msg)
		}
		f, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: not static: it has %v", arch, p.Type)
			}
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, static", arch, info.Size())
	}
}
