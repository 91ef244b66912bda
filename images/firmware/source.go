package firmware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// AgentPackage is the program that becomes /init, below the source tree.
const AgentPackage = "./cmd/bootlace"

// A Source is a tree of Bootlace's source, ready to be built. In a git work tree
// it is a copy of the files that git tracks, with uncommitted edits. Other files
// that lie about do not count.
type Source struct {
	Version string // git describe, -dirty with uncommitted edits; "unknown" without git
	Commit  string // 40 hex digits; "unknown" without git

	dir  string
	copy bool
}

// OpenSource prepares the tree that dir is in. Close removes the copy.
func OpenSource(ctx context.Context, dir string) (*Source, error) {
	dir, err := moduleRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("find the source: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); errors.Is(err, fs.ErrNotExist) {
		return &Source{Version: "unknown", Commit: "unknown", dir: dir}, nil
	}
	s := &Source{copy: true}
	for _, q := range []struct {
		to   *string
		args []string
	}{
		{&s.Commit, []string{"rev-parse", "HEAD"}},
		{&s.Version, []string{"describe", "--always", "--dirty", "--abbrev=12"}},
	} {
		out, err := git(ctx, dir, q.args...)
		if err != nil {
			return nil, err
		}
		*q.to = strings.TrimSpace(string(out))
	}
	tracked, err := git(ctx, dir, "ls-files", "-z")
	if err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "bootlace-source-"); err != nil {
		return nil, err
	}
	if err := copyFiles(s.dir, dir, strings.FieldsFunc(string(tracked), func(r rune) bool { return r == 0 })); err != nil {
		s.Close()
		return nil, fmt.Errorf("copy the source: %w", err)
	}
	return s, nil
}

// Close removes the copy.
func (s *Source) Close() error {
	if !s.copy {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// GoBuild builds the program of a package, static and stripped, for a GOARCH. The
// same source, toolchain and flags give the same bytes, in any folder and with
// any environment or `go env -w`. No other place says how the binary is built.
func (s *Source) GoBuild(ctx context.Context, pkg, goarch, output string, flags ...string) error {
	output, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	env, err := s.environ(ctx, goarch)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version=" + s.Version}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", output, pkg)...)
	cmd.Dir, cmd.Env = s.dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		hint := ""
		if s.copy {
			hint = " (of the files that git tracks: new ones want a git add)"
		}
		return fmt.Errorf("go build %s for %s%s: %w\n%s", pkg, goarch, hint, err, bytes.TrimSpace(out))
	}
	return nil
}

// NoHTTP2 is the build tag that leaves HTTP/2 out, 0.55 MB on amd64. We serve HTTP
// without TLS, where there is none. From servers of https we fetch by HTTP/1.1,
// which they all speak.
const NoHTTP2 = "nethttpomithttp2"

// smallFlags make the program of an initramfs small. On amd64, after zstd, it is
// 24 % smaller without the serving half, 10 % without inlining, and 4 % without
// HTTP/2.
func smallFlags(serve bool) []string {
	tags := NoHTTP2
	if !serve {
		tags += ",device" // see cmd/bootlace/device.go
	}
	flags := []string{"-tags", tags, "-gcflags=all=-l"}
	for _, pkg := range inlined {
		flags = append(flags, "-gcflags="+pkg+"=")
	}
	return flags
}

// inlined are packages that keep inlining, for speed. Where zstd has no assembly
// it would take twice the time without.
var inlined = []string{
	"runtime/...", "internal/...",
	"github.com/klauspost/...", "github.com/therootcompany/...",
	"github.com/bootlace/...",
}

// GoVersion is the version of the toolchain that the source asks for.
func (s *Source) GoVersion(ctx context.Context) (string, error) {
	v, err := s.goEnv(ctx, "GOVERSION")
	return v["GOVERSION"], err
}

// environ is this process's environment, but with everything fixed that would
// change the bytes. GOENV=off is there because an empty GOFLAGS does not win over
// one set with `go env -w`. Where modules come from is carried over.
func (s *Source) environ(ctx context.Context, goarch string) ([]string, error) {
	keep, err := s.goEnv(ctx, "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB",
		"GOINSECURE", "GOMODCACHE", "GOCACHE", "GOTOOLCHAIN")
	if err != nil {
		return nil, err
	}
	env := os.Environ()
	for k, v := range keep {
		env = append(env, k+"="+v)
	}
	return append(env, fixedEnviron(goarch)...), nil
}

func fixedEnviron(goarch string) []string {
	env := []string{
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off", "CGO_ENABLED=0",
		"GOOS=linux", "GOARCH=" + goarch,
	}
	for _, a := range board.Arches { // Go reads the one for GOARCH
		env = append(env, a.Variant)
	}
	return env
}

func (s *Source) goEnv(ctx context.Context, names ...string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"env", "-json"}, names...)...)
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	var env map[string]string
	return env, json.Unmarshal(out, &env)
}

// moduleRoot is the nearest folder with a go.mod, dir or above it.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// copyFiles copies regular files. Files that were deleted but not committed are
// left out. So are symbolic links, which Go's tools do not follow either.
func copyFiles(to, from string, names []string) error {
	for _, name := range names {
		fi, err := os.Lstat(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
			continue
		} else if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
