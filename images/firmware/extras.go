package firmware

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images"
)

// extras are the files that lie unchanged beside a board's firmware: files of
// other packages, the kernel's device trees, and what the user brings.
func (b *boardBuild) extras(ctx context.Context, bd *board.Board, k *kernel) ([]file, error) {
	var files []file
	for _, e := range bd.Extras {
		data, err := b.take(ctx, e.Package, func(name string) bool { return name == e.Path })
		if err != nil {
			return nil, fmt.Errorf("take %s: %w", e.Path, err)
		}
		files = append(files, file{e.Name, data})
	}
	if b.Kernel == "" {
		for _, name := range slices.Sorted(maps.Keys(bd.Trees)) {
			files = append(files, file{name, k.trees[bd.Trees[name]]})
		}
	}
	if bd.Pi != "" {
		pi, err := b.piFirmware(bd)
		if err != nil {
			return nil, err
		}
		files = append(files, pi...)
	}
	return files, nil
}

// piFiles are what a Raspberry Pi runs before a kernel. They may be passed on
// but are not free software. Debian has them in raspi-firmware, which is in
// non-free-firmware.
var piFiles = []string{"bootcode.bin", "start*.elf", "fixup*.dat"}

// piFirmware reads piFiles from the user's folder.
func (b *boardBuild) piFirmware(bd *board.Board) ([]file, error) {
	if b.PiFirmware == "" {
		b.Log.Warn("a Raspberry Pi needs its own firmware too: give it as --pi-firmware, or put it there",
			"files", piFiles, "from", "usr/lib/raspi-firmware of Debian's package raspi-firmware, in non-free-firmware", "into", bd.File(""))
		return nil, nil
	}
	var files []file
	for _, pattern := range piFiles {
		names, err := filepath.Glob(filepath.Join(b.PiFirmware, pattern))
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("firmware of a Raspberry Pi: no %s in %s", pattern, b.PiFirmware)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("firmware of a Raspberry Pi: %w", err)
			}
			b.record.add("input pi %s %d sha256:%s", filepath.Base(name), len(data), images.Digest(data))
			files = append(files, file{filepath.Base(name), data})
		}
	}
	return files, nil
}

// treeName is a device tree's name below usr/lib/linux-image-<release>/ of a
// kernel's package, as in board.Board.Trees. It is "" for other files.
func treeName(name string) string {
	rest, ok := strings.CutPrefix(name, "usr/lib/linux-image-")
	_, tree, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !strings.HasSuffix(tree, ".dtb") {
		return ""
	}
	return tree
}
