package flash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

// The stages of a job, as Options.Progress names them.
const (
	StageCheck  = "check"  // does the disk hold the image already?
	StageWrite  = "write"  // done counts raw bytes that arrived
	StageVerify = "verify" // read back
)

// Options of a job.
type Options struct {
	// Overwrite allows a disk that looks used.
	Overwrite bool

	// Progress is called with raw bytes of the image after each block of a
	// stage. It may be nil. It is not called by two goroutines at once unless
	// WriteBlock is.
	Progress func(stage string, done, total int64)
}

// A Result says what a job did. Written == 0 and Verified > 0: the disk already
// held the image.
type Result struct {
	Written  int64 // bytes written to the disk, zeros for holes among them
	Skipped  int64 // bytes of holes where the disk had zeros already
	Verified int64 // bytes read back whose digests agreed

	CheckTook, WriteTook, VerifyTook time.Duration

	Note string // something a person may want to know, "" mostly
}

// A Job writes one image to one disk. It takes blocks in any order, from any
// number of producers at once, against a bitmap:
//
//	Begin → WriteBlock … → Finish
//
// From Begin to the end of Finish the disk's first MiB is zero. So an
// interrupted job leaves a disk that does not boot. The image's first block and
// those in the disk's last MiB are written last. Until everything else was read
// back they are kept in memory.
type Job struct {
	dev  Device
	m    *images.Manifest
	opt  Options
	tail int64 // offset of the disk's last MiB

	began time.Time

	mu     sync.Mutex
	blocks []blockState
	left   int            // blocks that are not here yet
	done   int64          // raw bytes that are here
	held   map[int][]byte // blocks that are written last
	res    Result
	same   bool
}

type blockState byte

const (
	missing blockState = iota
	busy
	here
)

// Begin checks the disk and clears its first and last MiB. Before that it
// refuses an image that is larger than the disk. It also refuses a disk that
// holds something (ErrDiskInUse), unless Options say otherwise. If the disk
// holds the image already, nothing is cleared and Complete is true.
func Begin(ctx context.Context, dev Device, m *images.Manifest, opt Options) (*Job, error) {
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("flash: manifest: %w", err)
	}
	if dev.Size() < m.Raw.Size {
		return nil, fmt.Errorf("flash: the image has %s, the disk only %s", human.Size(m.Raw.Size), human.Size(dev.Size()))
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int64, int64) {}
	}
	j := &Job{
		dev: dev, m: m, opt: opt,
		tail:   max(0, dev.Size()-edge),
		blocks: make([]blockState, len(m.Blocks)),
		left:   len(m.Blocks),
		held:   map[int][]byte{},
	}
	start := time.Now()
	err := j.begin(ctx)
	j.res.CheckTook = time.Since(start)
	j.began = time.Now()
	if err != nil {
		return nil, fmt.Errorf("flash: %w", err)
	}
	return j, nil
}

func (j *Job) begin(ctx context.Context) error {
	diff, err := j.compare(ctx, StageCheck, nil)
	if err != nil {
		return err
	}
	if diff == nil {
		j.same, j.left = true, 0
		j.res.Verified = j.m.Raw.Size
		return nil
	}
	head, tail, err := edges(j.dev)
	if err != nil {
		return err
	}
	if what := contents(head, tail); what != "" && !j.opt.Overwrite {
		ours, err := j.interrupted(ctx, head, tail)
		if err != nil {
			return err
		}
		if !ours {
			return fmt.Errorf("it holds %s: %w", what, ErrDiskInUse)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.clearEdges(head, tail)
}

// interrupted reports whether what stands at the disk's edges is left of this
// same job, cut off in its last moments. Then the boot sector is still zero, and
// everything that is written before the edges is there.
func (j *Job) interrupted(ctx context.Context, head, tail []byte) (bool, error) {
	beyond := tail[min(int64(len(tail)), max(0, j.m.Raw.Size-j.tail)):]
	if !images.IsZero(head[:min(sector, len(head))]) || !images.IsZero(beyond) {
		return false, nil
	}
	evidence := false
	diff, err := j.compare(ctx, StageCheck, func(i int) bool {
		b := j.m.Blocks[i]
		evidence = evidence || !j.isLast(i) && !b.Hole
		return j.isLast(i)
	})
	return diff == nil && evidence, err
}

// isLast reports whether block i lies in the disk's first or last MiB.
func (j *Job) isLast(i int) bool {
	b := j.m.Blocks[i]
	return i == 0 || b.Offset+b.Length > j.tail
}

// clearEdges zeroes what is not zero of the edges.
func (j *Job) clearEdges(head, tail []byte) error {
	for _, e := range []struct {
		data []byte
		off  int64
	}{{head, 0}, {tail, j.dev.Size() - int64(len(tail))}} {
		if images.IsZero(e.data) {
			continue
		}
		if _, err := j.dev.WriteAt(make([]byte, len(e.data)), e.off); err != nil {
			return fmt.Errorf("clear the disk at %d: %w", e.off, err)
		}
	}
	if err := j.dev.Sync(); err != nil {
		return fmt.Errorf("clear the disk: %w", err)
	}
	return nil
}

// Manifest is that of the image.
func (j *Job) Manifest() *images.Manifest { return j.m }

// Complete reports whether no block is missing: Finish can be called.
func (j *Job) Complete() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.left == 0
}

// WriteBlock takes the bytes of block i. Bytes that do not agree with the
// manifest are refused and not written. A block that is there already, or that
// another producer is writing, is dropped. data is the caller's again when it
// returns.
func (j *Job) WriteBlock(i int, data []byte) error {
	if i < 0 || i >= len(j.blocks) {
		return fmt.Errorf("write block %d: the image ends at %s", i, human.Size(j.m.Raw.Size))
	}
	b := &j.m.Blocks[i]
	if err := b.Check(data); err != nil {
		return fmt.Errorf("write block %d at offset %d: %w", i, b.Offset, err)
	}
	if j.claim(i, data) {
		var written int64
		var err error
		if !j.isLast(i) {
			written, err = j.put(b, data)
		}
		if err = j.settle(i, written, err); err != nil {
			return fmt.Errorf("write block %d at offset %d: %w", i, b.Offset, err)
		}
	}
	j.mu.Lock()
	done := j.done
	j.mu.Unlock()
	j.opt.Progress(StageWrite, done, j.m.Raw.Size)
	return nil
}

// claim marks a missing block as being written, and keeps what is written last.
func (j *Job) claim(i int, data []byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.blocks[i] != missing {
		return false
	}
	j.blocks[i] = busy
	if j.isLast(i) {
		j.held[i] = bytes.Clone(data)
	}
	return true
}

// settle notes what became of a block that was claimed, and returns err.
func (j *Job) settle(i int, written int64, err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.blocks[i] = missing
		return err
	}
	b := &j.m.Blocks[i]
	j.blocks[i] = here
	j.left--
	j.done += b.Length
	j.res.Written += written
	if b.Hole && !j.isLast(i) {
		j.res.Skipped += b.Length - written
	}
	return nil
}

// put writes a block, or makes sure that the disk has zeros for a hole.
func (j *Job) put(b *images.Block, data []byte) (written int64, err error) {
	if !b.Hole {
		n, err := j.dev.WriteAt(data, b.Offset)
		return int64(n), err
	}
	// Reading is cheaper than writing, and spares flash memory.
	there := make([]byte, b.Length)
	if _, err := j.dev.ReadAt(there, b.Offset); err != nil {
		return 0, err
	}
	if images.IsZero(there) {
		return 0, nil
	}
	if z, ok := j.dev.(zeroer); ok {
		err = z.Zero(b.Offset, b.Length)
	} else {
		_, err = j.dev.WriteAt(data, b.Offset)
	}
	return b.Length, err
}

// compare reads the image from the disk and returns the first difference from
// the manifest. diff is nil where there is none. Blocks that are held come from
// memory. Blocks for which skip is true are not compared.
func (j *Job) compare(ctx context.Context, stage string, skip func(i int) bool) (diff, err error) {
	if err := drop(j.dev); err != nil {
		return nil, err
	}
	// Each block has a digest, so the whole needs none. On one processor it
	// would take as long again.
	found := false
	err = images.Cut(ctx, &reader{j: j}, func(i int, data []byte) error {
		b := &j.m.Blocks[i]
		if skip == nil || !skip(i) {
			if check := b.Check(data); check != nil {
				diff, found = fmt.Errorf("block %d at offset %d: %w", i, b.Offset, check), true
				return io.EOF // enough is known
			}
		}
		j.opt.Progress(stage, b.Offset+b.Length, j.m.Raw.Size)
		return nil
	})
	if found {
		return diff, nil
	}
	return nil, err
}

// drop makes the next read ask the medium, where the device knows how.
func drop(dev Device) error {
	if d, ok := dev.(dropper); ok {
		return d.Drop()
	}
	return nil
}

// reader reads the raw image, held blocks from memory and the others from the
// disk.
type reader struct {
	j   *Job
	off int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.off == r.j.m.Raw.Size {
		return 0, io.EOF
	}
	i := int(r.off / images.BlockSize)
	b := r.j.m.Blocks[i]
	in := r.off - b.Offset
	if held, ok := r.j.held[i]; ok {
		n := copy(p, held[in:])
		r.off += int64(n)
		return n, nil
	}
	p = p[:min(int64(len(p)), b.Length-in)]
	n, err := r.j.dev.ReadAt(p, r.off)
	r.off += int64(n)
	if n == len(p) {
		err = nil
	} else if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("read the disk at %d: %w", r.off, err)
	}
	return n, err
}
