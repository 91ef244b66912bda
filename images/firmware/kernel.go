package firmware

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// stubPackage has systemd's EFI stub.
const stubPackage = "systemd-boot-efi"

// A kernel is an image and the modules that a board loads.
type kernel struct {
	image   []byte
	release string // as `uname -r` has it; "" if the user's own image does not say
	modules []module
	trees   map[string][]byte // device trees, by the name that board.Board.Trees has
}

// debianKernel takes kernel, modules and device trees from the board's package.
func (b *boardBuild) debianKernel(ctx context.Context, bd *board.Board) (*kernel, error) {
	pkg, err := b.get(ctx, bd.Kernel)
	if err != nil {
		return nil, err
	}
	dir, ok := b.shared.kernels[pkg.SHA256]
	if !ok {
		b.Log.Info("unpacking the kernel", "package", pkg.Name)
		dir, err = b.unpack(ctx, pkg, func(name string) bool {
			return strings.HasPrefix(name, "boot/vmlinuz-") || treeName(name) != "" ||
				strings.Contains(name, "lib/modules/") && (isModule(name) || path.Base(name) == "modules.builtin")
		})
		if err != nil {
			return nil, err
		}
		b.shared.kernels[pkg.SHA256] = dir
	}
	kernels, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("package %s: %d kernels in it", bd.Kernel, len(kernels))
	}
	k, err := openKernel(kernels[0], dir, bd.Modules)
	if err != nil {
		return nil, err
	}
	k.trees = make(map[string][]byte)
	for _, tree := range bd.Trees {
		names, err := filepath.Glob(filepath.Join(dir, "usr/lib/linux-image-*", filepath.FromSlash(tree)))
		if err != nil || len(names) != 1 {
			return nil, fmt.Errorf("package %s: no device tree %s", bd.Kernel, tree)
		}
		if k.trees[tree], err = os.ReadFile(names[0]); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// openKernel reads a kernel image, and the named modules with all that they need
// from a folder. Without a folder the kernel must have everything built in.
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
// (Documentation/arch/x86/boot.rst, kernel_version). It is "" for other images.
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
func (b *boardBuild) stub(ctx context.Context) ([]byte, error) {
	stub := "linux" + b.arch.EFI + ".efi.stub"
	data, err := b.take(ctx, stubPackage, func(name string) bool { return path.Base(name) == stub })
	if err != nil {
		return nil, fmt.Errorf("take %s: %w", stub, err)
	}
	return data, nil
}

// get gets a package for the board and records it.
func (b *boardBuild) get(ctx context.Context, name string) (Package, error) {
	pkg, err := b.Packages.Get(ctx, b.arch.Debian, name)
	if err != nil {
		return pkg, err
	}
	b.record.add("input package %s %s %s sha256:%s", pkg.Name, pkg.Version, pkg.Arch, pkg.SHA256)
	return pkg, nil
}

// unpack unpacks the wanted files into a new folder.
func (b *boardBuild) unpack(ctx context.Context, pkg Package, want func(string) bool) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "bootlace-package-"); err != nil {
		return "", err
	}
	if err := unpack(ctx, pkg.Path, dir, want); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// take returns the only wanted file of a package.
func (b *boardBuild) take(ctx context.Context, name string, want func(string) bool) ([]byte, error) {
	pkg, err := b.get(ctx, name)
	if err != nil {
		return nil, err
	}
	var found []string
	dir, err := b.unpack(ctx, pkg, func(name string) bool {
		if want(name) {
			found = append(found, name)
		}
		return want(name)
	})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if len(found) != 1 {
		return nil, fmt.Errorf("package %s: %d files of it will do", pkg.Name, len(found))
	}
	return os.ReadFile(filepath.Join(dir, filepath.FromSlash(found[0])))
}
