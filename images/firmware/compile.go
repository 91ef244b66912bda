package firmware

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images"
)

// Compile makes a board's firmware with a kernel of our own. The kernel comes
// from Debian's source and has the initramfs inside, so vmlinuz and bootlace.efi
// are the same file. The first time takes about seven minutes on two cores.
// What was compiled is kept in the cache. A new initramfs then takes half a
// minute.
func Compile(ctx context.Context, c *board.KernelFlavour, bd *board.Board, opt Options) (Result, error) {
	r, err := compileFor(ctx, c, bd, opt)
	if err != nil {
		return r, fmt.Errorf("compile %s: %w", c.Name, err)
	}
	return r, nil
}

func compileFor(ctx context.Context, c *board.KernelFlavour, bd *board.Board, opt Options) (r Result, err error) {
	arch, ok := board.ArchOf(c.Arch)
	switch {
	case !ok || arch.Kbuild == nil:
		return r, fmt.Errorf("no kernel is compiled for architecture %q", c.Arch)
	case bd.Arch != c.Arch:
		return r, fmt.Errorf("board %s is %s, the kernel is for %s", bd.Name, bd.Arch, c.Arch)
	}
	if missing := missingNeeds(compileNeeds); len(missing) > 0 {
		return r, fmt.Errorf("this machine lacks what compiles a kernel: apt install %s", strings.Join(missing, " "))
	}
	s := NewBuilder(opt)
	defer s.Close()
	if err := s.Check(bd); err != nil {
		return r, err
	}
	b := &boardBuild{Options: s.opt, shared: s, arch: arch}
	agent, err := b.agent(ctx, bd.Arch)
	if err != nil {
		return r, err
	}
	raw, err := b.archive(ctx, bd, agent, nil)
	if err != nil {
		return r, err
	}
	image, err := b.compile(ctx, c, bd, raw)
	if err != nil {
		return r, err
	}
	extras, err := b.extras(ctx, bd, &kernel{}) // amd64 boards have no device trees
	if err != nil {
		return r, err
	}
	b.record.add("board %s", bd.Name)
	b.record.add("cmdline %s", bd.CommandLine())
	b.record.add("input initramfs.cpio %d sha256:%s", len(raw), images.Digest(raw))
	r.Dir = filepath.Join(b.Dir, filepath.FromSlash(bd.File("")))
	r.Release = imageRelease(image)
	b.record.add("kernel %s", r.Release)
	r.Kernel, r.Agent, r.UKI, r.Archive = len(image), len(agent.program), len(image), len(raw)
	// The kernel would unpack the initramfs of another build over its own.
	if err := os.Remove(filepath.Join(r.Dir, board.Initramfs)); err != nil && !os.IsNotExist(err) {
		return r, err
	}
	return r, b.write(r.Dir, append([]file{{board.Kernel, image}, {board.UKI, image}}, extras...))
}

// compile returns the kernel's image with the initramfs inside.
func (b *boardBuild) compile(ctx context.Context, c *board.KernelFlavour, bd *board.Board, initramfs []byte) ([]byte, error) {
	pkg, err := b.get(ctx, c.Source)
	if err != nil {
		return nil, err
	}
	gcc, err := exec.CommandContext(ctx, "gcc", "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("gcc --version: %w", err)
	}
	gcc, _, _ = bytes.Cut(gcc, []byte("\n"))
	options := fmt.Sprintf("%s\nCONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE=%q\nCONFIG_INITRAMFS_SOURCE=%q\nCONFIG_INITRAMFS_COMPRESSION_NONE=y\n",
		c.Options, bd.CommandLine(), "initramfs.cpio")
	b.record.add("config %s sha256:%s", c.Name, images.Digest([]byte(options)))
	b.record.add("gcc %s", gcc)

	// One folder for each kernel, source and compiler keeps what was compiled.
	key := sha256.Sum256([]byte(pkg.SHA256 + "\n" + string(gcc)))
	dir := filepath.Join(b.Packages.Dir, "kernels", fmt.Sprintf("%s-%x", c.Name, key[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := b.source(ctx, pkg, dir); err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "source", "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{"options": []byte(options), "initramfs.cpio": initramfs} {
		if err := refresh(filepath.Join(out, name), data); err != nil {
			return nil, err
		}
	}
	if err := b.configure(ctx, out, options); err != nil {
		return nil, err
	}
	b.Log.Info("compiling the kernel; the first time takes minutes", "kernel", c.Name, "in", dir)
	if err := b.kbuild(ctx, out, fmt.Sprintf("-j%d", runtime.NumCPU()), b.arch.Kbuild.Target); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(out, filepath.FromSlash(b.arch.Kbuild.Image)))
}

// unneeded are the parts of the source that no option of ours turns on, as
// patterns for tar. They are two thirds of its size.
var unneeded = []string{
	"*/Documentation/*.rst", "*/Documentation/*.yaml", "*/tools/testing/*", "*/arch/[a-wyz]*/*.[chS]", "*/arch/[a-wyz]*/*.dts*",
	"*/drivers/gpu/drm/*/*.[ch]", "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]", "*/sound/*.[ch]",
}

// source unpacks the kernel's source to dir/source, once.
func (b *boardBuild) source(ctx context.Context, pkg Package, dir string) error {
	to := filepath.Join(dir, "source")
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	b.Log.Info("unpacking", "package", pkg.Name)
	tmp, err := os.MkdirTemp(dir, ".source-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var tarball string
	if err := unpack(ctx, pkg.Path, tmp, func(name string) bool {
		if !strings.HasPrefix(name, "usr/src/linux-source-") || !strings.HasSuffix(name, ".tar.xz") {
			return false
		}
		tarball = filepath.Join(tmp, filepath.FromSlash(name))
		return true
	}); err != nil {
		return err
	}
	if tarball == "" {
		return fmt.Errorf("package %s: no source in it", pkg.Name)
	}
	tree := filepath.Join(tmp, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	args := []string{"-xJf", tarball, "-C", tree, "--strip-components=1", "--no-same-owner"}
	for _, pattern := range unneeded {
		args = append(args, "--exclude="+pattern)
	}
	if msg, err := exec.CommandContext(ctx, "tar", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", pkg.Name, err, bytes.TrimSpace(msg))
	}
	return os.Rename(tree, to)
}

// configure makes .config of the options and checks that all of them took. make
// silently drops an option that this version lacks or whose needs are not met.
func (b *boardBuild) configure(ctx context.Context, out, options string) error {
	old, _ := os.ReadFile(filepath.Join(out, ".options"))
	if string(old) == options {
		return nil // and .config keeps its time, so that nothing is made anew
	}
	if err := b.kbuild(ctx, out, "KCONFIG_ALLCONFIG=options", "allnoconfig"); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(out, ".config"))
	if err != nil {
		return err
	}
	have := make(map[string]bool)
	for line := range strings.Lines(string(config)) {
		have[strings.TrimSpace(line)] = true
	}
	var lost []string
	for s := bufio.NewScanner(strings.NewReader(options)); s.Scan(); {
		if line := s.Text(); strings.HasPrefix(line, "CONFIG_") && !have[line] {
			lost = append(lost, line)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("this source does not take %s", strings.Join(lost, ", "))
	}
	return images.WriteFile(filepath.Join(out, ".options"), []byte(options), 0o644)
}

// kbuild runs make for the kernel in out, a folder in its source. The result
// depends on no environment, time, user, host name or absolute path.
func (b *boardBuild) kbuild(ctx context.Context, out string, args ...string) error {
	args = append([]string{"-C", "..", "O=out", "ARCH=" + b.arch.Kbuild.Arch, "LOCALVERSION="}, args...)
	cmd := exec.CommandContext(ctx, "make", args...)
	cmd.Dir = out
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), "LC_ALL=C",
		"KBUILD_BUILD_TIMESTAMP=1970-01-01 00:00:00 UTC", "KBUILD_BUILD_USER=bootlace", "KBUILD_BUILD_HOST=bootlace",
		"KBUILD_BUILD_VERSION=1", "SOURCE_DATE_EPOCH=0",
	}
	msg, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w\n%s", args[len(args)-1], err, bytes.TrimSpace(msg[max(0, len(msg)-4096):]))
	}
	return nil
}

// refresh writes a file only if its content changes, since make goes by times.
func refresh(name string, data []byte) error {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return images.WriteFile(name, data, 0o644)
}
