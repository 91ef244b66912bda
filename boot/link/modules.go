package link

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

// LoadModules loads the modules that the file lists, in its order. A module that
// fails is logged and passed over, since the machine may not have its hardware.
// If the file is missing, the kernel has everything built in.
func LoadModules(log *slog.Logger, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			log.Warn("no modules loaded", "err", err)
		}
		return
	}
	loadModules(log, strings.Fields(string(raw)), loadModule)
}

// loadModules loads the files in order. A bus driver refuses to load where there
// is no such bus: hv_vmbus outside Hyper-V. The modules that need it are then
// not tried. Without it they cannot be linked, and for each missing symbol the
// kernel would print a line.
func loadModules(log *slog.Logger, paths []string, load func(path string) error) {
	var absent []string // names of modules without their hardware
	for _, path := range paths {
		name := moduleName(path)
		if len(absent) > 0 && slices.ContainsFunc(needs(path), func(need string) bool { return slices.Contains(absent, need) }) {
			absent = append(absent, name)
			continue
		}
		switch err := load(path); {
		case errors.Is(err, unix.ENODEV): // efivarfs on a BIOS machine
			log.Info("module without its hardware", "module", path)
			absent = append(absent, name)
		case err != nil:
			log.Warn("module not loaded", "module", path, "err", err)
		}
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := kmodule.FileInit(f, "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// needs returns the modules that a module does not link without. Its .modinfo
// section says so, as depends=a,b between two NULs (linux/moduleparam.h). Each
// name is as moduleName has it.
func needs(path string) []string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil // loading it will say why
	}
	_, list, ok := bytes.Cut(raw, []byte("\x00depends="))
	if !ok {
		return nil
	}
	list, _, _ = bytes.Cut(list, []byte{0})
	var names []string
	for _, name := range strings.Split(string(list), ",") {
		names = append(names, moduleName(name))
	}
	return names
}

// moduleName is the kernel's name of a module, in which - is _: hv_vmbus for
// /lib/modules/bootlace/hv-vmbus.ko.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}
