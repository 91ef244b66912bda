package firmware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images"
)

// Options say what firmware is made from and where it goes.
type Options struct {
	Dir        string // a root to serve; files go to Dir/firmware/<board>/
	Source     string // any folder in Bootlace's source tree
	Agent      string // Go package that becomes /init; "" means AgentPackage
	Serve      bool   // include the serving half, for action serve and BOOTLACE disks
	Rescue     bool   // include u-root's shell and tools, see RescueInit
	Fast       bool   // compress less: a quarter of the time, a fifth more bytes
	Kernel     string // the user's own kernel image; "" means Debian's
	Modules    string // folder with that kernel's modules; "" means that all is built in
	PiFirmware string // folder with a Raspberry Pi's own files; "" leaves them out

	Packages *Packages
	Log      *slog.Logger // gets each step, as a message with the board's name
}

// A Result is one board's firmware, sizes in bytes.
type Result struct {
	Dir     string // where the files are
	Release string // of the kernel, as `uname -r` has it

	Kernel, Agent, UKI int
	Modules            int // all of them together
	Archive, Initramfs int // before compression and behind it
}

// A Builder makes the firmware of one board after another. It keeps what they
// have in common.
type Builder struct {
	opt     Options
	agents  map[string]*agent // by GOARCH
	kernels map[string]string // folders of unpacked kernel packages, by SHA-256
}

// NewBuilder returns a Builder, which needs a Close in the end.
func NewBuilder(opt Options) *Builder {
	if opt.Agent == "" {
		opt.Agent = AgentPackage
	}
	return &Builder{opt: opt, agents: make(map[string]*agent), kernels: make(map[string]string)}
}

// Close removes the temporary files.
func (s *Builder) Close() error {
	var errs []error
	for _, dir := range s.kernels {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// A boardBuild is the making of one board's firmware. Each step of it is a
// method, since all steps share the packages that were fetched.
type boardBuild struct {
	Options
	shared *Builder
	arch   *board.Arch // the board's
	record record
}

// Build makes the firmware of a board.
func (s *Builder) Build(ctx context.Context, bd *board.Board) (Result, error) {
	if bd.Unbuilt != "" && s.opt.Kernel == "" {
		return Result{}, fmt.Errorf("build %s: %s", bd.Name, bd.Unbuilt)
	}
	arch, ok := board.ArchOf(bd.Arch)
	if !ok {
		return Result{}, fmt.Errorf("build %s: no architecture %s", bd.Name, bd.Arch)
	}
	b := &boardBuild{Options: s.opt, shared: s, arch: arch}
	b.Log = b.Log.With("board", bd.Name)
	r, err := b.build(ctx, bd)
	if err != nil {
		return Result{}, fmt.Errorf("build %s: %w", bd.Name, err)
	}
	return r, nil
}

func (b *boardBuild) build(ctx context.Context, bd *board.Board) (r Result, err error) {
	agent, err := b.agent(ctx, bd.Arch)
	if err != nil {
		return r, err
	}
	kernel, err := b.kernel(ctx, bd)
	if err != nil {
		return r, err
	}
	stub, err := b.stub(ctx)
	if err != nil {
		return r, err
	}
	extras, err := b.extras(ctx, bd, kernel)
	if err != nil {
		return r, err
	}
	cmdline := bd.CommandLine()
	raw, err := b.archive(ctx, bd, agent, kernel.modules)
	if err != nil {
		return r, err
	}
	b.Log.Info("compressing the initramfs")
	initramfs, err := b.compress(ctx, raw)
	if err != nil {
		return r, err
	}
	uki, err := uki(stub, kernel.image, initramfs, cmdline, osRelease(agent.version, bd.Name))
	if err != nil {
		return r, fmt.Errorf("make %s: %w", board.UKI, err)
	}

	b.record.add("board %s", bd.Name)
	b.record.add("cmdline %s", cmdline)
	b.record.add("kernel %s", kernel.release)
	b.record.add("input initramfs.cpio %d sha256:%s", len(raw), images.Digest(raw))
	for _, m := range kernel.modules {
		b.record.add("input module %s %d sha256:%s", m.Name, len(m.Data), images.Digest(m.Data))
		r.Modules += len(m.Data)
	}
	r.Kernel, r.Agent, r.UKI = len(kernel.image), len(agent.program), len(uki)
	r.Archive, r.Initramfs = len(raw), len(initramfs)
	r.Release = kernel.release
	r.Dir = filepath.Join(b.Dir, filepath.FromSlash(bd.File("")))
	return r, b.write(r.Dir, append([]file{
		{board.Kernel, kernel.image},
		{board.Initramfs, initramfs},
		{board.UKI, uki},
	}, extras...))
}

// archive makes the initramfs, with u-root's tools where the options say so.
func (b *boardBuild) archive(ctx context.Context, bd *board.Board, a *agent, modules []module) ([]byte, error) {
	b.record.add("rescue %v", b.Rescue)
	if !b.Rescue {
		return archive(a.program, bd.Name, modules, addition{})
	}
	more, err := b.rescue(ctx, bd.Arch)
	if err != nil {
		return nil, err
	}
	defer setenv(fixedEnviron(bd.Arch))()
	return archive(a.program, bd.Name, modules, more)
}

// An agent is the program of the initramfs, and what it is made of.
type agent struct {
	program []byte
	version string
	record  record
}

// agent returns the program for a GOARCH, which is built once.
func (b *boardBuild) agent(ctx context.Context, goarch string) (*agent, error) {
	a := b.shared.agents[goarch]
	if a == nil {
		var err error
		if a, err = b.buildAgent(ctx, goarch); err != nil {
			return nil, err
		}
		b.shared.agents[goarch] = a
	}
	b.record = append(b.record, a.record...)
	return a, nil
}

func (b *boardBuild) buildAgent(ctx context.Context, goarch string) (*agent, error) {
	src, err := OpenSource(ctx, b.Source)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	dir, err := os.MkdirTemp("", "bootlace-agent-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b.Log.Info("building the agent", "arch", goarch, "version", src.Version)
	name := filepath.Join(dir, "bootlace")
	if err := src.GoBuild(ctx, b.Agent, goarch, name, smallFlags(b.Serve)...); err != nil {
		return nil, err
	}
	a := &agent{version: src.Version}
	if a.program, err = os.ReadFile(name); err != nil {
		return nil, err
	}
	toolchain, err := src.GoVersion(ctx)
	if err != nil {
		return nil, err
	}
	a.record.add("go %s", toolchain)
	a.record.add("version %s", src.Version)
	a.record.add("commit %s", src.Commit)
	a.record.add("serve %v", b.Serve)
	a.record.add("input agent %s %d sha256:%s", b.Agent, len(a.program), images.Digest(a.program))
	for _, name := range []string{"go.mod", "go.sum"} { // the versions of every library
		digest, err := fileDigest(filepath.Join(src.dir, name))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		a.record.add("input %s sha256:%s", name, digest)
	}
	return a, nil
}

func (b *boardBuild) kernel(ctx context.Context, bd *board.Board) (*kernel, error) {
	if b.Kernel == "" {
		return b.debianKernel(ctx, bd)
	}
	k, err := openKernel(b.Kernel, b.Modules, bd.Modules)
	if err != nil {
		return nil, err
	}
	if b.Modules == "" {
		b.Log.Warn("no modules for this kernel: it has to have built in what the board needs", "board", bd.Name, "needs", bd.Modules)
	}
	b.record.add("input kernel %d sha256:%s", len(k.image), images.Digest(k.image))
	return k, nil
}

func osRelease(version, board string) string {
	return fmt.Sprintf("ID=bootlace\nNAME=Bootlace\nPRETTY_NAME=\"Bootlace %s %s\"\nVERSION_ID=%s\n", version, board, version)
}

// A file is one output.
type file struct {
	name string
	data []byte
}

// write puts the outputs into dir. Each appears whole, and BUILD comes last.
func (b *boardBuild) write(dir string, files []file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		b.record.add("output %s %d sha256:%s", f.name, len(f.data), images.Digest(f.data))
	}
	for _, f := range append(files, file{board.Build, b.record.text()}) {
		if err := images.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

// A record is the BUILD file. It has a line for everything that went in and
// came out. It has no dates, host names or paths.
type record []string

func (r *record) add(format string, args ...any) {
	*r = append(*r, fmt.Sprintf(format, args...))
}

func (r record) text() []byte {
	lines := slices.Clone(r)
	slices.Sort(lines)
	return []byte(strings.Join(lines, "\n") + "\n")
}
