package policy

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// A Policy has the config's rules for machines.
type Policy struct {
	Profiles []*boot.Profile
	Unknown  boot.Action // for machines without a profile: ignore or wait
}

// A Decision is what one machine gets now.
type Decision struct {
	Machine  boot.Machine
	Board    *board.Board  // nil where the board is unknown
	Profile  *boot.Profile // nil where no profile matches, or there are none
	Action   boot.Action
	Disk     boot.Disk
	orderJob string // the job of a person's order, "" without one
}

// Decide chooses a machine's action. A person's order goes first, then the
// disk's flash, then the first profile that matches.
func (p Policy) Decide(m boot.Machine, f boot.Facts) Decision {
	d := Decision{Machine: m, Profile: boot.Choose(p.Profiles, f)}
	d.Board, _ = board.ByName(f.Board)
	switch {
	case d.Profile != nil:
		d.Action, d.Disk = d.Profile.Action, d.Profile.Disk
		// A machine keeps every MAC it was seen with, a shared dock's or a
		// forged one included. Any of them may select its profile. But
		// overwrite counts only if the profile also matches the MAC in use now.
		// Otherwise a stale alias could wipe the disk.
		now := f
		now.MACs = []boot.MAC{f.MAC}
		d.Disk.Overwrite = d.Disk.Overwrite && d.Profile.Match.Matches(now)
	case len(p.Profiles) == 0:
		d.Action = boot.ActionWait
	default:
		d.Action = p.Unknown
	}
	if d.Action == boot.ActionFlash && m.Flashed != nil {
		d.Action = boot.ActionLocal
	}
	if w := m.Wanted; w != nil && d.Profile != nil {
		switch {
		case w.Action == boot.ActionLocal:
			d.Action, d.orderJob = boot.ActionLocal, w.Job
		case d.Profile.Action == boot.ActionFlash:
			d.Action, d.orderJob = boot.ActionFlash, w.Job
			d.Disk.Overwrite = d.Disk.Overwrite || w.Overwrite
		}
	}
	return d
}

// Local reports whether the machine is to boot from its disk.
func (d Decision) Local() bool { return d.Action == boot.ActionLocal }

// FlashImage returns the image name of the machine's profile. It is a key of
// the config's images, or a name under the root. ok is false where the profile
// flashes nothing, or has no image for the machine's board.
func (d Decision) FlashImage() (string, bool) {
	if d.Profile == nil || d.Profile.Action != boot.ActionFlash {
		return "", false
	}
	return d.Profile.Image(d.Machine.Board)
}

// Job returns the ID of the machine's job. It is the same in every boot of the
// job. digest is the SHA-256 of the manifest of FlashImage, "" where there is
// none.
func (d Decision) Job(digest string) string {
	if d.orderJob != "" {
		return d.orderJob
	}
	return JobID(d.Machine.ID, digest, string(d.Action))
}

// JobID computes a job's ID from the machine, what it gets, and the action. So
// the ID need not be stored.
func JobID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
