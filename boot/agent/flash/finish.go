package flash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// sector is the least that a disk writes as one. The image's first one, the
// boot sector, is the last thing that is written.
const sector = 512

// Finish makes the disk whole and bootable, once no block is missing. All is
// read back from the medium and compared. Then the blocks at the disk's end are
// written and read back. Then comes the first block, its boot sector last. A nil
// error means that the disk holds the image. After an error the disk does not
// boot, unless the medium fails even to be cleared.
func (j *Job) Finish(ctx context.Context) (Result, error) {
	if j.same {
		return j.res, nil
	}
	j.res.WriteTook = time.Since(j.began)
	if !j.Complete() {
		i := slices.Index(j.blocks, missing)
		return j.res, fmt.Errorf("flash: %d of %d blocks are missing, the first at offset %d", j.left, len(j.blocks), int64(i)*edge)
	}
	start := time.Now()
	err := j.finish(ctx)
	j.res.VerifyTook = time.Since(start)
	if err != nil {
		return j.res, fmt.Errorf("flash: %w", err)
	}
	if r, ok := j.dev.(reloads); ok {
		// The image is whole; only this kernel may not see its partitions.
		if err := r.Reload(); err != nil {
			j.res.Note = err.Error()
		}
	}
	return j.res, nil
}

func (j *Job) finish(ctx context.Context) error {
	if err := j.dev.Sync(); err != nil {
		return fmt.Errorf("write to the medium: %w", err)
	}
	diff, err := j.compare(ctx, StageVerify, nil)
	if err == nil {
		err = diff
	}
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	for i, b := range j.m.Blocks {
		if !j.isLast(i) {
			j.res.Verified += b.Length
		}
	}
	for _, i := range slices.Sorted(maps.Keys(j.held)) {
		if i == 0 {
			continue
		}
		if err := j.writeHeld(i, 0); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on it takes milliseconds, and stopping would gain nothing.
	// Everything but the boot sector goes first, then that alone. A power cut in
	// between leaves a disk that does not boot, and that interrupted knows.
	err = j.writeHeld(0, min(sector, len(j.held[0])))
	if err != nil {
		if clearErr := unboot(j.dev); clearErr != nil {
			return fmt.Errorf("%w; then %w", err, clearErr)
		}
	}
	return err
}

// writeHeld writes a block that was held, from first on and then what is before
// first. It reads it back.
func (j *Job) writeHeld(i, first int) error {
	b := &j.m.Blocks[i]
	data := j.held[i]
	for _, part := range []struct {
		data []byte
		off  int64
	}{{data[first:], b.Offset + int64(first)}, {data[:first], b.Offset}} {
		if len(part.data) == 0 {
			continue
		}
		if _, err := j.dev.WriteAt(part.data, part.off); err != nil {
			return fmt.Errorf("write block %d at offset %d: %w", i, part.off, err)
		}
		if err := j.dev.Sync(); err != nil {
			return fmt.Errorf("write block %d to the medium: %w", i, err)
		}
	}
	if err := drop(j.dev); err != nil {
		return err
	}
	j.res.Written += b.Length
	back := make([]byte, len(data))
	if _, err := j.dev.ReadAt(back, b.Offset); err != nil {
		return fmt.Errorf("read back block %d at offset %d: %w", i, b.Offset, err)
	}
	if err := b.Check(back); err != nil {
		return fmt.Errorf("read back: block %d at offset %d: %w", i, b.Offset, err)
	}
	j.res.Verified += b.Length
	return nil
}

// unboot clears the boot sector's surroundings after they were written wrong.
func unboot(dev Device) error {
	if _, err := dev.WriteAt(make([]byte, min(edge, dev.Size())), 0); err != nil {
		return fmt.Errorf("clear the disk: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("clear the disk: %w", err)
	}
	return nil
}
