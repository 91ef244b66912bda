package firmware

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/nettest"
)

// checkout makes a git work tree with a small program that prints its version.
func checkout(t *testing.T) string {
	t.Helper()
	nettest.Need(t, "git")
	dir := t.TempDir()
	put(t, dir, "go.mod", "module example.org/small\n\ngo 1.26\n")
	put(t, dir, "cmd/small/main.go", "package main\n\nvar version string\n\nfunc main() { println(version, word) }\n")
	put(t, dir, "cmd/small/word.go", "package main\n\nconst word = `committed`\n")
	put(t, dir, "cmd/small/gone.go", "package main\n\nconst gone = 1\n")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."},
		{"-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compile builds the small program with a version, its own where that is "".
func compile(t *testing.T, dir, goarch, version string) (program string, data []byte, src *Source) {
	t.Helper()
	src, err := OpenSource(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if version != "" {
		src.Version = version
	}
	program = filepath.Join(t.TempDir(), "small")
	if err := src.GoBuild(t.Context(), "./cmd/small", goarch, program); err != nil {
		t.Fatal(err)
	}
	data, err = os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return program, data, src
}

func says(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestSource(t *testing.T) {
	dir := checkout(t)
	program, committed, src := compile(t, dir, "amd64", "")
	if len(src.Commit) != 40 || len(src.Version) != 12 || !strings.HasPrefix(src.Commit, src.Version) {
		t.Errorf("version %s, commit %s", src.Version, src.Commit)
	}
	if got := says(t, program); got != src.Version+" committed" {
		t.Errorf("it says %q", got)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" && s.Value != "0" || s.Key == "GOAMD64" && s.Value != "v1" || strings.HasPrefix(s.Key, "vcs") {
			t.Errorf("built with %s=%s", s.Key, s.Value)
		}
	}
	if _, err := os.Stat(src.dir); !os.IsNotExist(err) {
		t.Errorf("the copy is still there: %v", err)
	}

	// What git does not track changes nothing, nor does the environment.
	put(t, dir, "cmd/small/stray.go", "package main\n\nfunc init() { println(`stray`) }\n")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOEXPERIMENT", "greenteagc")
	t.Setenv("GOENV", goEnvFile(t, "GOFLAGS=-tags=other\nCGO_ENABLED=1\n"))
	if _, data, _ := compile(t, dir, "amd64", ""); !bytes.Equal(data, committed) {
		t.Error("a stray file or the environment changed the binary")
	}
	// Nor does git's absence, but for the version.
	plain := t.TempDir()
	if err := os.CopyFS(plain, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(plain, ".git")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(plain, "cmd/small/stray.go")); err != nil {
		t.Fatal(err)
	}
	if _, data, tarball := compile(t, plain, "amd64", src.Version); !bytes.Equal(data, committed) || tarball.Commit != "unknown" {
		t.Errorf("without git: commit %s, the same bytes: %v", tarball.Commit, bytes.Equal(data, committed))
	}

	// Edits of tracked files count before they are committed, and show.
	put(t, dir, "cmd/small/word.go", "package main\n\nconst word = `edited`\n")
	if err := os.Remove(filepath.Join(dir, "cmd/small/gone.go")); err != nil {
		t.Fatal(err)
	}
	program, _, dirty := compile(t, filepath.Join(dir, "cmd"), "amd64", "")
	if dirty.Version != src.Version+"-dirty" {
		t.Errorf("version %s, want %s-dirty", dirty.Version, src.Version)
	}
	if got := says(t, program); got != dirty.Version+" edited" {
		t.Errorf("it says %q", got)
	}
}

// The toolchain builds for every architecture of the table.
func TestGoBuild(t *testing.T) {
	dir := checkout(t)
	for _, a := range board.Arches {
		t.Run(a.Name, func(t *testing.T) {
			if _, data, _ := compile(t, dir, a.Name, ""); !bytes.HasPrefix(data, []byte("\x7fELF")) {
				t.Error("no ELF")
			}
		})
	}
	src, err := OpenSource(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := src.GoBuild(t.Context(), "./cmd/none", "amd64", filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "cmd/none") {
		t.Errorf("a package that is not there: %v", err)
	}
}
