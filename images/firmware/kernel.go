package firmware

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// arches are the architectures of boards, by GOARCH.
var arches = map[string]struct {
	deb  string // Debian's name
	stub string // of systemd-boot-efi
}{
	"amd64":   {"amd64", "linuxx64.efi.stub"},
	"arm64":   {"arm64", "linuxaa64.efi.stub"},
	"arm":     {"armhf", "linuxarm.efi.stub"},
	"riscv64": {"riscv64", "linuxriscv64.efi.stub"},
}

// stubPackage has systemd's EFI stub.
const stubPackage = "systemd-boot-efi"

// A kernel is an image and the modules that a board loads into it.
type kernel struct {
	image   []byte
	release string // as `uname -r` has it; "" where the image is one's own and does not say
	modules []module
	trees   map[string][]byte // device trees, by the name that board.Board.Trees has
}

// debianKernel takes kernel and modules from the board's package.
func (b *builder) debianKernel(ctx context.Context, bd *board.Board) (*kernel, error) {
	wanted := slices.Collect(maps.Values(bd.Trees))
	trees := make(map[string]string)
	dir, err := b.unpack(ctx, bd.Kernel, func(name string) bool {
		if tree := treeName(name); slices.Contains(wanted, tree) {
			trees[tree] = name
			return true
		}
		return strings.HasPrefix(name, "boot/vmlinuz-") || strings.Contains(name, "lib/modules/") &&
			(isModule(name) || path.Base(name) == "modules.builtin")
	})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("package %s: %d kernels in it", bd.Kernel, len(images))
	}
	k, err := openKernel(images[0], dir, bd.Modules)
	if err != nil {
		return nil, err
	}
	k.trees = make(map[string][]byte)
	for tree, name := range trees {
		if k.trees[tree], err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// openKernel takes one's own kernel, with modules of a folder. Without one
// nothing is known of what is built in, and it has to be all that is needed.
func openKernel(image, modules string, names []string) (*kernel, error) {
	k := &kernel{}
	var err error
	if k.image, err = os.ReadFile(image); err != nil {
		return nil, fmt.Errorf("read kernel: %w", err)
	}
	k.release = imageRelease(k.image)
	if modules == "" {
		return k, nil
	}
	tree, err := openModules(os.DirFS(modules))
	if err != nil {
		return nil, err
	}
	load, release, err := tree.closure(names)
	if err != nil {
		return nil, err
	}
	if k.release != "" && release != "" && k.release != release {
		return nil, fmt.Errorf("the kernel is %s, its modules are for %s", k.release, release)
	}
	k.modules = load
	if k.release == "" {
		k.release = release
	}
	return k, nil
}

// imageRelease reads an x86 kernel's release from its setup header
// (Documentation/arch/x86/boot.rst, kernel_version); "" for other images.
func imageRelease(image []byte) string {
	const magic, version = 0x202, 0x20e
	if len(image) < 0x400 || string(image[magic:magic+4]) != "HdrS" {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(image[version:])) + 0x200
	if at >= len(image) {
		return ""
	}
	text, _, _ := bytes.Cut(image[at:min(at+128, len(image))], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// stub returns systemd's EFI stub for the board.
func (b *builder) stub(ctx context.Context, bd *board.Board) ([]byte, error) {
	want := arches[bd.Arch].stub
	var found string
	dir, err := b.unpack(ctx, stubPackage, func(name string) bool {
		if path.Base(name) != want {
			return false
		}
		found = name
		return true
	})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if found == "" {
		return nil, errors.New("package " + stubPackage + ": no " + want)
	}
	return os.ReadFile(filepath.Join(dir, found))
}

// unpack gets a package for the board and unpacks what want says yes to into a
// folder of its own.
func (b *builder) unpack(ctx context.Context, name string, want func(string) bool) (dir string, err error) {
	pkg, err := b.Packages.Get(ctx, b.arch, name)
	if err != nil {
		return "", err
	}
	b.record.add("input package %s %s %s sha256:%s", pkg.Name, pkg.Version, pkg.Arch, pkg.SHA256)
	if dir, err = os.MkdirTemp("", "bootlace-package-"); err != nil {
		return "", err
	}
	if err := unpack(ctx, pkg.Path, dir, want); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}
