// Package firmware makes what Bootlace boots machines with: a Debian kernel,
// an initramfs with the agent and the modules a board needs, and both as one
// EFI program. The same source, toolchain and packages give the same bytes.
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

// Options say where firmware is made from and where it goes.
type Options struct {
	Dir        string // a root to serve; files go to Dir/firmware/<board>/
	Source     string // folder in Bootlace's source tree
	Agent      string // Go package in it that becomes /init; AgentPackage unless given
	Serve      bool   // with the serving half, for action serve and BOOTLACE disks
	Rescue     bool   // with u-root's shell and tools, see RescueInit
	Fast       bool   // compress less: a quarter of the time, a fifth more bytes
	Kernel     string // one's own kernel image instead of Debian's, with
	Modules    string // the folder of its modules; "": it has what it needs built in
	PiFirmware string // folder with what a Raspberry Pi runs first; "": it is not put there

	Packages *Packages
	Log      *slog.Logger
}

// A Result is one board's firmware, sizes in bytes.
type Result struct {
	Dir     string // where the files are
	Release string // of the kernel, as `uname -r` has it

	Kernel, Agent, UKI int
	Modules            int // all of them together
	Archive, Initramfs int // before compression and behind it
}

// A Builder makes firmware of one board after another, and keeps what they have
// in common.
type Builder struct {
	opt     Options
	agents  map[string]*agent // by GOARCH
	kernels map[string]string // folders of unpacked kernel packages, by SHA-256
}

// NewBuilder returns one that wants a Close in the end.
func NewBuilder(opt Options) *Builder {
	if opt.Agent == "" {
		opt.Agent = AgentPackage
	}
	return &Builder{opt: opt, agents: make(map[string]*agent), kernels: make(map[string]string)}
}

// Close removes what was kept.
func (s *Builder) Close() error {
	var errs []error
	for _, dir := range s.kernels {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// builder makes the firmware of one board.
type builder struct {
	Options
	shared *Builder
	arch   *board.Arch // the board's
	record record
}

// Build makes the firmware of a board.
func Build(ctx context.Context, bd *board.Board, opt Options) (Result, error) {
	s := NewBuilder(opt)
	defer s.Close()
	return s.Build(ctx, bd)
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
	b := &builder{Options: s.opt, shared: s, arch: arch}
	r, err := b.build(ctx, bd)
	if err != nil {
		return Result{}, fmt.Errorf("build %s: %w", bd.Name, err)
	}
	return r, nil
}

func (b *builder) build(ctx context.Context, bd *board.Board) (r Result, err error) {
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
	b.record.add("input initramfs.cpio %d sha256:%s", len(raw), sum(raw))
	for _, m := range kernel.modules {
		b.record.add("input module %s %d sha256:%s", m.Name, len(m.Data), sum(m.Data))
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

// archive makes the initramfs, with what the options add to it.
func (b *builder) archive(ctx context.Context, bd *board.Board, a *agent, modules []module) ([]byte, error) {
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

// agent returns the program for a GOARCH, built once.
func (b *builder) agent(ctx context.Context, goarch string) (*agent, error) {
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

func (b *builder) buildAgent(ctx context.Context, goarch string) (*agent, error) {
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
	a.record.add("input agent %s %d sha256:%s", b.Agent, len(a.program), sum(a.program))
	for _, name := range []string{"go.mod", "go.sum"} { // the versions of every library
		digest, err := fileSum(filepath.Join(src.dir, name))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		a.record.add("input %s sha256:%s", name, digest)
	}
	return a, nil
}

func (b *builder) kernel(ctx context.Context, bd *board.Board) (*kernel, error) {
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
	b.record.add("input kernel %d sha256:%s", len(k.image), sum(k.image))
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

// write puts the outputs into dir, each in one step, and BUILD last.
func (b *builder) write(dir string, files []file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		b.record.add("output %s %d sha256:%s", f.name, len(f.data), sum(f.data))
	}
	for _, f := range append(files, file{board.Build, b.record.text()}) {
		if err := images.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

// A record is the BUILD file: a line for everything that went in and came out,
// without dates, host names or paths.
type record []string

func (r *record) add(format string, args ...any) {
	*r = append(*r, fmt.Sprintf(format, args...))
}

func (r record) text() []byte {
	lines := slices.Clone(r)
	slices.Sort(lines)
	return []byte(strings.Join(lines, "\n") + "\n")
}
