package firmware

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/images"
)

// testAgent stands in for the agent.
const testAgent = "./images/firmware/testdata/init"

// testPackages uses the cache that mkboot uses, and fills it.
func testPackages(t *testing.T) *Packages {
	t.Helper()
	nettest.Need(t, "dpkg-deb")
	nettest.Need(t, "zstd")
	dir, err := CacheDir()
	if err != nil {
		nettest.Skip(t, err.Error())
	}
	p := &Packages{Dir: dir, Log: slog.New(slog.DiscardHandler)}
	for _, b := range built() {
		for _, name := range []string{b.Kernel, stubPackage} {
			if _, err := p.Get(t.Context(), debian(t, b), name); err != nil {
				nettest.Skip(t, err.Error())
			}
		}
	}
	return p
}

// built are the boards that firmware is made for.
func built() []*board.Board {
	return slices.DeleteFunc(slices.Clone(board.Boards), func(b *board.Board) bool { return b.Unbuilt != "" })
}

// debian is Debian's name for a board's architecture.
func debian(t *testing.T, b *board.Board) string {
	t.Helper()
	a, ok := board.ArchOf(b.Arch)
	if !ok {
		t.Fatalf("board %s: no architecture %s", b.Name, b.Arch)
	}
	return a.Debian
}

func TestBuild(t *testing.T) {
	s := NewBuilder(Options{Dir: t.TempDir(), Source: ".", Agent: testAgent, Fast: true, Packages: testPackages(t), Log: slog.New(slog.DiscardHandler)})
	s.kernels = unpacked
	opt := s.opt
	for _, b := range built() {
		t.Run(b.Name, func(t *testing.T) {
			r, err := s.Build(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(opt.Dir, "firmware", b.Name); r.Dir != want {
				t.Errorf("files are in %s, want %s", r.Dir, want)
			}
			record := readFile(t, r.Dir, board.Build)
			if bytes.Contains(record, []byte(opt.Dir)) || bytes.Contains(record, []byte(os.TempDir())) {
				t.Errorf("BUILD holds a path of this machine:\n%s", record)
			}
			lines := strings.Split(strings.TrimSpace(string(record)), "\n")
			if !slices.IsSorted(lines) {
				t.Errorf("BUILD is not sorted:\n%s", record)
			}
			for _, want := range []string{
				`commit [0-9a-f]{40}`, `go go1\..+`, `kernel ` + regexp.QuoteMeta(r.Release),
				`input package linux-image-\S+ \S+ \S+ sha256:[0-9a-f]{64}`,
				`input package systemd-boot-efi \S+ \S+ sha256:[0-9a-f]{64}`,
				`input go\.sum sha256:[0-9a-f]{64}`, `serve false`, `rescue false`, `zstd 1\.[0-9.]+`,
				`input module vfat\.ko \d+ sha256:[0-9a-f]{64}`,
			} {
				if !regexp.MustCompile(`(?m)^` + want + `$`).Match(record) {
					t.Errorf("BUILD has no line %s:\n%s", want, record)
				}
			}
			names := []string{board.Kernel, board.Initramfs, board.UKI}
			for _, e := range b.Extras {
				names = append(names, e.Name)
			}
			names = slices.AppendSeq(names, maps.Keys(b.Trees))
			for _, name := range names {
				data := readFile(t, r.Dir, name)
				if b.Trees[name] != "" && !bytes.HasPrefix(data, []byte("\xd0\x0d\xfe\xed")) {
					t.Errorf("%s is no device tree", name)
				}
				if want := fmt.Sprintf("output %s %d sha256:%s", name, len(data), images.Digest(data)); !slices.Contains(lines, want) {
					t.Errorf("BUILD has no line %s:\n%s", want, record)
				}
				if fi, err := os.Stat(filepath.Join(r.Dir, name)); err != nil || fi.Mode().Perm() != 0o644 {
					t.Errorf("%s: mode %v, %v", name, fi.Mode(), err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(r.Dir, ".*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			t.Logf("%+v", r)
		})
	}
}

// A rescue image's script finds the shell and all that it calls.
func TestRescueScript(t *testing.T) {
	have := map[string]bool{}
	for _, name := range rescueCommands {
		if have[name] {
			t.Errorf("%s is there twice", name)
		}
		have[name] = true
	}
	words := strings.FieldsFunc(rescueScript, func(r rune) bool { return strings.ContainsRune(" \n$()", r) })
	for _, name := range []string{"mount", "cat", "insmod", "shutdown"} {
		if !slices.Contains(words, name) || !have[name] {
			t.Errorf("the script does not call %s, or it is not there", name)
		}
	}
	if !have["gosh"] || !strings.HasPrefix(rescueScript, "#!/bbin/gosh\n") {
		t.Error("no shell")
	}
}

// Two checkouts in different places, one with things lying about and another
// environment, give the same bytes.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds twice")
	}
	packages := testPackages(t)
	nettest.Need(t, "git")
	bd := board.Boards[0]
	clean, littered := clone(t), clone(t)
	for name, text := range map[string]string{
		"cmd/bootlace/stray.go":   "package main\n\nfunc init() { println(`stray`) }\n",
		"images/firmware/stray.o": "\x7fELF",
		"go.work":                 "go 1.26\n",
	} {
		if err := os.WriteFile(filepath.Join(littered, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOFLAGS", "")
	first := buildIn(t, buildUnpacked, clean, bd, packages)
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOENV", goEnvFile(t, "GOFLAGS=-tags=stray\n"))
	second := buildIn(t, buildOne, littered, bd, packages)
	for _, name := range []string{board.Kernel, board.Initramfs, board.UKI, board.Build} {
		a, b := readFile(t, first, name), readFile(t, second, name)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs: %d bytes %s, %d bytes %s", name, len(a), images.Digest(a), len(b), images.Digest(b))
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", readFile(t, first, board.Build), readFile(t, second, board.Build))
	}
}

// Debian's kernel and modules, given as one's own, make the same firmware.
func TestOwnKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three times")
	}
	bd := board.Boards[0]
	opt := Options{Dir: t.TempDir(), Source: clone(t), Agent: testAgent, Packages: testPackages(t), Log: slog.New(slog.DiscardHandler), Fast: true}
	first, err := buildUnpacked(t.Context(), bd, opt)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := opt.Packages.Get(t.Context(), debian(t, bd), bd.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	dir := unpacked[pkg.SHA256]
	opt.Dir = t.TempDir()
	opt.Kernel = filepath.Join(dir, "boot", "vmlinuz-"+first.Release)
	opt.Modules = filepath.Join(dir, "lib", "modules", first.Release)
	second, err := buildOne(t.Context(), bd, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{board.Kernel, board.Initramfs, board.UKI} {
		if !bytes.Equal(readFile(t, first.Dir, name), readFile(t, second.Dir, name)) {
			t.Errorf("%s differs", name)
		}
	}
	record := readFile(t, second.Dir, board.Build)
	if !regexp.MustCompile(`(?m)^input kernel \d+ sha256:[0-9a-f]{64}$`).Match(record) || bytes.Contains(record, []byte("linux-image")) {
		t.Errorf("BUILD does not say whose kernel it is:\n%s", record)
	}

	opt.Modules = ""
	bare, err := buildOne(t.Context(), bd, opt)
	if err != nil {
		t.Fatal(err)
	}
	if bare.Modules != 0 || bare.Release != first.Release || bytes.Contains(readFile(t, bare.Dir, board.Build), []byte("input module")) {
		t.Errorf("without modules: %+v", bare)
	}
}

// A Raspberry Pi's own firmware comes from the user's folder, whole or not at all.
func TestPiFirmware(t *testing.T) {
	dir := t.TempDir()
	b := &boardBuild{Options: Options{PiFirmware: dir, Log: slog.New(slog.DiscardHandler)}}
	pi := &board.Board{Name: "pi", Pi: "pi3"}
	for _, name := range []string{"bootcode.bin", "start4.elf", "start.elf", "LICENCE"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.extras(t.Context(), pi, &kernel{}); err == nil || !strings.Contains(err.Error(), "fixup*.dat") {
		t.Errorf("without fixup: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fixup4.dat"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := b.extras(t.Context(), pi, &kernel{})
	var got []string
	for _, f := range files {
		got = append(got, f.name)
	}
	if want := []string{"bootcode.bin", "start.elf", "start4.elf", "fixup4.dat"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// buildOne makes the firmware of one board alone.
func buildOne(ctx context.Context, bd *board.Board, opt Options) (Result, error) {
	s := NewBuilder(opt)
	defer s.Close()
	return s.Build(ctx, bd)
}

// unpacked are folders of kernel packages by SHA-256, as a Builder has them. To
// unpack one takes seconds, so TestBuild leaves its own to the tests behind it.
var unpacked = map[string]string{}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range unpacked {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// buildUnpacked is buildOne with the packages that are unpacked already.
func buildUnpacked(ctx context.Context, bd *board.Board, opt Options) (Result, error) {
	s := NewBuilder(opt)
	s.kernels = unpacked
	return s.Build(ctx, bd)
}

type builder func(context.Context, *board.Board, Options) (Result, error)

func buildIn(t *testing.T, build builder, source string, bd *board.Board, packages *Packages) string {
	t.Helper()
	r, err := build(t.Context(), bd, Options{Dir: t.TempDir(), Source: source, Fast: true, Packages: packages, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r.Dir
}

func goEnvFile(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// clone checks out what is committed of this repository.
func clone(t *testing.T) string {
	t.Helper()
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "source")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", root, dir).CombinedOutput(); err != nil {
		nettest.Skip(t, fmt.Sprintf("git clone: %v: %s", err, out))
	}
	return dir
}

func TestErrors(t *testing.T) {
	opt := Options{Dir: t.TempDir(), Source: "/", Log: slog.New(slog.DiscardHandler)}
	if _, err := buildOne(context.Background(), &board.Board{Name: "x", Arch: "vax"}, opt); err == nil || !strings.Contains(err.Error(), "vax") {
		t.Errorf("unknown architecture: %v", err)
	}
	if _, err := buildOne(context.Background(), &board.Board{Name: "x", Arch: "arm64", Unbuilt: "no driver"}, opt); err == nil || !strings.Contains(err.Error(), "no driver") {
		t.Errorf("a board without firmware: %v", err)
	}
	if _, err := buildOne(context.Background(), board.Boards[0], opt); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("no source: %v", err)
	}
}

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
