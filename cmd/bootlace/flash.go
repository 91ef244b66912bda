package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/agent/source"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

// runFlash writes an image to a disk of this machine. A device does the same
// under a plan that names the disk.
func runFlash(ctx context.Context, args []string) error {
	set := newFlags("flash", "IMAGE DISK [--overwrite]")
	overwrite := set.Bool("overwrite", false, "also over a disk that holds something")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) != 2 {
		return usageError{errors.New("flash: want an image file and a disk")}
	}
	image, disk := operands[0], operands[1]
	m, err := images.ReadManifest(image + images.ManifestSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "%s has no manifest; reading it to make one\n", image)
		_, m, err = images.Add(ctx, image)
	}
	if err != nil {
		return err
	}
	dev, err := flash.Open(disk)
	if err != nil {
		return err
	}
	defer dev.Close()
	show := newProgress(os.Stderr)
	stage := ""
	fetch := func(_ context.Context, w io.Writer) error {
		f, err := os.Open(image)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, images.Verifying(f, m.Stored))
		return err
	}
	res, err := flash.Write(ctx, dev, m, source.Stream(fetch, 0), flash.Options{Overwrite: *overwrite, Progress: func(at string, done, total int64) {
		if at != stage {
			show.clear()
			stage, show.meter = at, human.Meter{}
		}
		show.moved(at, done, total)
	}})
	show.clear()
	if errors.Is(err, flash.ErrDiskInUse) {
		return fmt.Errorf("%w; --overwrite writes all the same", err)
	}
	if err != nil {
		return err
	}
	if res.Written == 0 {
		fmt.Printf("%s holds %s already: %s read and verified, nothing written\n", disk, image, human.Bytes(m.Raw.Size))
		return nil
	}
	fmt.Printf("%s: %s written in %v, %s read back and verified in %v\n", disk, human.Bytes(res.Written), res.WriteTook.Round(time.Millisecond),
		human.Bytes(res.Verified), res.VerifyTook.Round(time.Millisecond))
	if res.Note != "" {
		fmt.Println(res.Note)
	}
	return nil
}
