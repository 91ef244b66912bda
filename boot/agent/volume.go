package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/link"
)

// volumeDir is where the appliance's file system is mounted.
const volumeDir = "/run/bootlace/store"

// volumes finds the file system that holds an appliance's files.
type volumes struct {
	console *console
	timing  Timing
	dir     string // where it is mounted, "" where it is not
	absent  bool   // no disk was labelled so when we looked
}

// mount mounts the file system of that label and returns the folder. One that is
// named is waited for. An unnamed one ("") is there when all disks have shown
// up, or not at all. Then the folder is "".
func (v *volumes) mount(ctx context.Context, label string) (dir string, err error) {
	if v.dir != "" {
		return v.dir, nil // from an earlier try
	}
	named, settle := label != "", v.timing.Settle
	if named {
		settle = v.timing.Say
	} else {
		label = board.VolumeLabel
	}
	for {
		found, err := link.FindVolume(ctx, label, settle)
		switch {
		case err == nil:
			return v.use(found, named)
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case !named:
			v.absent = true
			return "", nil
		}
		v.console.say("waiting for the disk labelled %s", label)
	}
}

// use mounts a volume, if it holds a config.
func (v *volumes) use(found link.Volume, named bool) (dir string, err error) {
	if err := found.Mount(volumeDir); err != nil {
		return "", err
	}
	_, err = os.Stat(filepath.Join(volumeDir, board.VolumeConfig))
	if err == nil {
		v.dir = volumeDir
		return v.dir, nil
	}
	unix.Unmount(volumeDir, 0)
	if named {
		return "", fmt.Errorf("store %s on %s: %w", found.Label, found.Path, err)
	}
	v.console.say("%s is labelled %s, but holds no %s", found.Path, found.Label, board.VolumeConfig)
	return "", nil
}

// appears returns once a disk is labelled so.
func (v *volumes) appears(ctx context.Context) error {
	found, err := link.FindVolume(ctx, board.VolumeLabel, 0)
	if err == nil {
		v.console.say("%s is labelled %s", found.Path, board.VolumeLabel)
	}
	return err
}

var errVolume = errors.New("a volume has shown up")

// leaseOrVolume is network.lease, but ends with neither lease nor error when a
// volume shows up meanwhile. A USB disk may take longer than all others to
// settle.
func (s *Session) leaseOrVolume(ctx context.Context) (*lease, error) {
	if !s.volumes.absent {
		return s.network.lease(ctx)
	}
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.forever(both, "store", func() error {
		err := s.volumes.appears(both)
		if err == nil {
			cancel(errVolume)
		}
		return err
	})
	l, err := s.network.lease(both)
	if errors.Is(context.Cause(both), errVolume) {
		return nil, nil
	}
	return l, err
}
