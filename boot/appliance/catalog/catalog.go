package catalog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
)

// Interval is how often Run reads the folder. A change is seen within two
// intervals, since a read may have just begun.
const Interval = time.Second

// ourselves is the Client with which the appliance opens its own tree.
var ourselves = files.Client{Addr: netip.IPv6Loopback()}

// A Catalog is safe for use by several goroutines.
type Catalog struct {
	tree      *files.Tree
	manifests *Manifests
	log       *slog.Logger

	firmware atomic.Pointer[map[string]bool] // firmware files that exist, by served name

	mu      sync.Mutex                     // guards what follows
	images  map[string]version[boot.Image] // by file name
	kernels map[string]version[boot.File]  // by file name
	logged  map[string]string              // what was last logged, by image file name
}

// A version is a value computed from a file. It holds until the file changes.
type version[T any] struct {
	size  int64
	mod   time.Time
	value T
}

func (v version[T]) current(size int64, mod time.Time) bool {
	return v.size == size && v.mod.Equal(mod)
}

// New reads the folder once.
func New(tree *files.Tree, manifests *Manifests, log *slog.Logger) *Catalog {
	c := &Catalog{
		tree: tree, manifests: manifests, log: log,
		images: map[string]version[boot.Image]{}, kernels: map[string]version[boot.File]{}, logged: map[string]string{},
	}
	c.findFirmware()
	return c
}

// Run reads the folder once every Interval until ctx ends, and then returns
// nil. It logs changes of images that Prepare has seen.
func (c *Catalog) Run(ctx context.Context) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.Look(ctx)
		}
	}
}

// Look reads the folder now.
func (c *Catalog) Look(ctx context.Context) {
	c.findFirmware()
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.logged))
	c.mu.Unlock()
	for _, name := range names {
		im, err := c.Image(ctx, name)
		c.logImageChange(name, im, err)
	}
}

// logImageChange logs each change of an image once.
func (c *Catalog) logImageChange(name string, im *boot.Image, err error) {
	state := ""
	if err != nil {
		state = err.Error()
	} else {
		state = im.ManifestSHA256
	}
	c.mu.Lock()
	logged, known := c.logged[name]
	c.logged[name] = state
	c.mu.Unlock()
	switch {
	case !known || logged == state:
	case err != nil:
		c.log.Warn("an image cannot be flashed any more", "image", name, "err", err, "cause", files.Cause(err))
	default:
		c.log.Info("an image is there anew", "image", name, "manifest", im.ManifestSHA256)
	}
}

// boardFiles are the firmware files that decide what a machine is told.
var boardFiles = func() []string {
	names := []string{board.Kernel, board.Initramfs, board.UKI}
	for _, l := range board.Loaders {
		for _, name := range l.Files {
			made := name == board.Script || name == board.BootScript
			if !made && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}()

func (c *Catalog) findFirmware() {
	there := map[string]bool{}
	for _, b := range board.Boards {
		for _, name := range boardFiles {
			if file := b.File(name); c.tree.Holds(file) {
				there[file] = true
			}
		}
	}
	c.firmware.Store(&there)
}

// Has reports whether the folder had a board's firmware file at the last look.
// It reads no disk.
func (c *Catalog) Has(b *board.Board, name string) bool { return (*c.firmware.Load())[b.File(name)] }

// maxBuild bounds a BUILD file in bytes. It has one line for each module.
const maxBuild = 64 << 10

// LacksServe reports whether a board's firmware has no serving half. Its BUILD
// file says so. Without that file it reports false.
func (c *Catalog) LacksServe(ctx context.Context, b *board.Board) bool {
	f, err := c.tree.Open(ctx, ourselves, b.File(board.Build))
	if err != nil {
		return false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBuild))
	return err == nil && slices.ContainsFunc(bytes.Split(raw, []byte("\n")), func(line []byte) bool {
		return string(line) == "serve false"
	})
}
