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

	"github.com/bootlace/bootlace/images"
)

// A module is a kernel module as it goes into the initramfs.
type module struct {
	Name string // file name, without a compression's suffix: virtio_net.ko
	Data []byte // the ELF object
}

// A moduleTree finds modules below a /lib/modules/<release>. Names are those of
// modprobe, for which - and _ are the same.
type moduleTree struct {
	fsys    fs.FS
	files   map[string]string // name -> path
	builtin map[string]bool
}

// openModules finds *.ko, *.ko.xz, *.ko.zst, *.ko.gz and modules.builtin anywhere
// in a tree.
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

// closure returns the named modules and all that they need. Each comes behind
// those that it needs. Built-in ones are left out. release is that of the kernel
// that they are for.
func (t *moduleTree) closure(names []string) (load []module, release string, err error) {
	w := &walk{tree: t, state: make(map[string]int)}
	for _, name := range names {
		if err := w.visit(name); err != nil {
			return nil, "", err
		}
	}
	return w.load, w.release, nil
}

// A walk visits dependencies depth first.
type walk struct {
	tree    *moduleTree
	state   map[string]int // by name: entered, left
	load    []module
	release string
}

const entered, left = 1, 2

var errCycle = errors.New("needs itself")

func (w *walk) visit(name string) error {
	key := moduleName(name)
	if w.tree.builtin[key] || w.state[key] == left {
		return nil
	}
	if w.state[key] == entered {
		return fmt.Errorf("module %s: %w", name, errCycle)
	}
	w.state[key] = entered
	if err := w.enter(key); err != nil {
		delete(w.state, key)
		return fmt.Errorf("module %s: %w", name, err)
	}
	w.state[key] = left
	return nil
}

func (w *walk) enter(key string) error {
	file, ok := w.tree.files[key]
	if !ok {
		return fs.ErrNotExist
	}
	data, err := w.tree.read(file)
	if err != nil {
		return err
	}
	in, err := modinfo(data)
	if err != nil {
		return err
	}
	// A soft dependency may be an alias, may be missing in this kernel, or may
	// depend on this module. Like modprobe, we ignore it then.
	for _, dep := range in.pre {
		if err := w.visit(dep); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errCycle) {
			return err
		}
	}
	for _, dep := range in.depends {
		if err := w.visit(dep); err != nil {
			return err
		}
	}
	if w.release == "" {
		w.release = in.release
	} else if in.release != w.release {
		return fmt.Errorf("it is for kernel %s, others for %s", in.release, w.release)
	}
	w.load = append(w.load, module{Name: plain(path.Base(file)), Data: data})
	return nil
}

func (t *moduleTree) read(name string) ([]byte, error) {
	f, err := t.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := images.Decompress(f) // Debian 13 ships .ko.xz
	if err != nil {
		return nil, err
	}
	defer r.Close()
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
