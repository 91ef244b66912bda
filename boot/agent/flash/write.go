package flash

import (
	"context"

	"github.com/bootlace/bootlace/images"
)

// A Producer brings an image's blocks to a job by WriteBlock. It ends when none
// is missing, when it fails, or with ctx. Package source has them.
type Producer func(ctx context.Context, j *Job) error

// Write flashes an image: Begin, the producer, Finish. The producer is not
// called where the disk holds the image. Only a nil error means that the disk
// holds it.
func Write(ctx context.Context, dev Device, m *images.Manifest, produce Producer, opt Options) (Result, error) {
	j, err := Begin(ctx, dev, m, opt)
	if err != nil {
		return Result{}, err
	}
	if !j.Complete() {
		if err := produce(ctx, j); err != nil {
			return j.res, err
		}
	}
	return j.Finish(ctx)
}
