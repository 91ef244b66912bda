package flash

import (
	"fmt"
	"strings"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/images"
)

// Select returns the disk for an image, of those that the rule allows and that
// are large enough. Where there are several it looks at what they hold:
//
//  1. the one that starts with the image: a job that comes again finds its own disk
//  2. the first that is blank, or that may be overwritten
//
// If all are in use the error is ErrDiskInUse and says what each holds.
func Select(disks []Disk, rule boot.Disk, m *images.Manifest) (Disk, error) {
	fit, err := fitting(disks, rule, m.Raw.Size)
	if err != nil {
		return Disk{}, err
	}
	if len(fit) == 1 {
		return fit[0], nil // Begin says what is wrong with it
	}
	var free *Disk
	var why []string
	for i, d := range fit {
		starts, what, err := look(d, m)
		switch {
		case err != nil:
			what = err.Error()
		case starts:
			return d, nil
		case free == nil && (what == "" || rule.Overwrite):
			free = &fit[i]
		}
		why = append(why, d.Name+": "+what)
	}
	if free == nil {
		return Disk{}, fmt.Errorf("choose disk: %s: %w", strings.Join(why, "; "), ErrDiskInUse)
	}
	return *free, nil
}

// look reads a disk's edges.
func look(d Disk, m *images.Manifest) (starts bool, what string, err error) {
	f, err := Open(d.Path)
	if err != nil {
		return false, "", err
	}
	defer f.Close()
	head, tail, err := edges(f)
	if err != nil {
		return false, "", err
	}
	b := m.Blocks[0]
	return !b.Hole && b.Check(head[:min(int64(len(head)), b.Length)]) == nil, contents(head, tail), nil
}
