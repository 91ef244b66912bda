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

// Interval is how often Run looks at the folder. A change is noticed within
// twice of it, since one look may have just begun.
const Interval = time.Second

// own is as whom the appliance opens its own tree.
var own = files.Client{Addr: netip.IPv6Loopback()}

// A Catalog is safe for use by several goroutines.
type Catalog struct {
	tree      *files.Tree
	manifests *Manifests
	log       *slog.Logger

	firmware atomic.Pointer[map[string]bool] // files of boards that are there, by served name

	mu      sync.Mutex                     // guards what follows
	images  map[string]version[boot.Image] // by file name
	kernels map[string]version[boot.File]  // by file name
	seen    map[string]string              // what was last logged of an image, by file name
}

// A version is what was made of a file, which holds until the file changes.
type version[T any] struct {
	size int64
	mod  time.Time
	of   T
}

func (v version[T]) is(size int64, mod time.Time) bool { return v.size == size && v.mod.Equal(mod) }

// New looks at the folder once.
func New(tree *files.Tree, manifests *Manifests, log *slog.Logger) *Catalog {
	c := &Catalog{
		tree: tree, manifests: manifests, log: log,
		images: map[string]version[boot.Image]{}, kernels: map[string]version[boot.File]{}, seen: map[string]string{},
	}
	c.lookForFirmware()
	return c
}

// Run keeps the catalog until ctx ends, and returns nil then. It logs what
// became of the images that Prepare was told of.
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

// Look compares the catalog with the folder.
func (c *Catalog) Look(ctx context.Context) {
	c.lookForFirmware()
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.seen))
	c.mu.Unlock()
	for _, name := range names {
		im, err := c.Image(ctx, name)
		c.noteImage(name, im, err)
	}
}

// noteImage logs what an image is, once a change.
func (c *Catalog) noteImage(name string, im *boot.Image, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	} else {
		now = im.ManifestSHA256
	}
	c.mu.Lock()
	last, known := c.seen[name]
	c.seen[name] = now
	c.mu.Unlock()
	switch {
	case !known || last == now:
	case err != nil:
		c.log.Warn("an image can not be flashed any more", "image", name, "err", err, "cause", files.Cause(err))
	default:
		c.log.Info("an image is there anew", "image", name, "manifest", im.ManifestSHA256)
	}
}

// boardFiles are the files of a board that decide what its machines are told.
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

func (c *Catalog) lookForFirmware() {
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

// Has reports whether the folder holds one of a board's firmware files, as of
// the last look. It reads no disk.
func (c *Catalog) Has(b *board.Board, name string) bool { return (*c.firmware.Load())[b.File(name)] }

// maxBuild bounds what is read of a BUILD file, which has a line a module.
const maxBuild = 64 << 10

// LacksServe reports whether the record of a board's firmware says that it was
// made without the serving half. Of firmware without a record nothing is known.
func (c *Catalog) LacksServe(ctx context.Context, b *board.Board) bool {
	f, err := c.tree.Open(ctx, own, b.File(board.Build))
	if err != nil {
		return false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBuild))
	return err == nil && slices.ContainsFunc(bytes.Split(raw, []byte("\n")), func(line []byte) bool {
		return string(line) == "serve false"
	})
}
