package firmware

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A module is a kernel module as it goes into the initramfs.
type module struct {
	Name string // file name, without a compression's suffix: virtio_net.ko
	Path string // where it was found, below the tree's root
	Data []byte // the ELF object
}

// moduleTree finds modules below a /lib/modules/<release>, by the names that
// modprobe takes: - and _ are the same.
type moduleTree struct {
	fsys    fs.FS
	files   map[string]string // name -> path
	builtin map[string]bool
}

// openModules walks the tree for *.ko, *.ko.xz, *.ko.zst, *.ko.gz and
// modules.builtin, wherever they are in it.
func openModules(fsys fs.FS) (*moduleTree, error) {
	t := &moduleTree{fsys: fsys, files: make(map[string]string), builtin: make(map[string]bool)}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case d.Name() == "modules.builtin":
			return t.readBuiltin(name)
		case !isModule(d.Name()):
			return nil
		}
		key := moduleName(name)
		if other, ok := t.files[key]; ok {
			return fmt.Errorf("module %s is there twice: %s, %s", key, other, name)
		}
		t.files[key] = name
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	return t, nil
}

func (t *moduleTree) readBuiltin(name string) error {
	raw, err := fs.ReadFile(t.fsys, name)
	if err != nil {
		return err
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		t.builtin[moduleName(s.Text())] = true
	}
	return nil
}

// closure returns the modules named and all that they need, each behind those
// that it needs, and the release of the kernel that they are for. Modules that
// are built in are left out.
//
// A soft dependency may name an alias or a module that this kernel does not
// have; modprobe shrugs, and so do we.
func (t *moduleTree) closure(names []string) (load []module, release string, err error) {
	const entered, left = 1, 2
	state := make(map[string]int)
	var visit func(name string) error
	visit = func(name string) error {
		key := moduleName(name)
		file, ok := t.files[key]
		switch {
		case t.builtin[key] || state[key] == left:
			return nil
		case !ok:
			return fmt.Errorf("module %s: %w", name, fs.ErrNotExist)
		case state[key] == entered:
			return fmt.Errorf("module %s: %w", name, errCycle)
		}
		state[key] = entered
		data, err := t.read(file)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		info, err := modinfo(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, dep := range info.pre {
			if err := visit(dep); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errCycle) {
				return err
			}
		}
		for _, dep := range info.depends {
			if err := visit(dep); err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
		}
		if release == "" {
			release = info.release
		} else if info.release != release {
			return fmt.Errorf("module %s is for kernel %s, others for %s", name, info.release, release)
		}
		state[key] = left
		load = append(load, module{Name: plain(path.Base(file)), Path: file, Data: data})
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, "", err
		}
	}
	return load, release, nil
}

var errCycle = errors.New("needs itself")

func (t *moduleTree) read(name string) ([]byte, error) {
	f, err := t.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch path.Ext(name) {
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".xz":
		r, err = xz.NewReader(bufio.NewReader(f))
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return io.ReadAll(r)
}

// info is what a module's .modinfo section says of it.
type info struct {
	depends []string // modules it does not link without
	pre     []string // modules to be loaded first, where there are any
	release string   // of its kernel, the first word of vermagic
}

// modinfo reads .modinfo: key=value, each ended by NUL (linux/moduleparam.h).
func modinfo(ko []byte) (info, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return info{}, fmt.Errorf("read ELF: %w", err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return info{}, errors.New("read ELF: no .modinfo section")
	}
	raw, err := s.Data()
	if err != nil {
		return info{}, fmt.Errorf("read .modinfo: %w", err)
	}
	var in info
	for _, entry := range strings.Split(string(raw), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "depends":
			in.depends = append(in.depends, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			in.pre = append(in.pre, softdep(value)...)
		case "vermagic":
			in.release, _, _ = strings.Cut(value, " ")
		}
	}
	return in, nil
}

// softdep returns the names behind "pre:" in "pre: a b post: c" (modprobe.d(5)).
func softdep(value string) (pre []string) {
	in := false
	for _, word := range strings.Fields(value) {
		switch word {
		case "pre:":
			in = true
		case "post:":
			in = false
		default:
			if in {
				pre = append(pre, word)
			}
		}
	}
	return pre
}

func isModule(name string) bool { return strings.HasSuffix(plain(name), ".ko") }

// plain takes a compression's suffix off a file name.
func plain(name string) string {
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		if rest, ok := strings.CutSuffix(name, suffix); ok {
			return rest
		}
	}
	return name
}

// moduleName is what a module is called, whatever its file: virtio_net.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(plain(path.Base(file)), ".ko"), "-", "_")
}
