package policy

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// A Policy is what the config says of machines.
type Policy struct {
	Profiles []*boot.Profile
	Unknown  boot.Action // for machines that no profile matches: ignore or wait
}

// A Decision is what one machine gets now.
type Decision struct {
	Machine boot.Machine
	Board   *board.Board  // nil where nothing is known
	Profile *boot.Profile // nil: no profile matched, or there are none
	Action  boot.Action
	Disk    boot.Disk
	asked   string // the job of a person's order, "" where none counts
}

// Decide chooses a machine's action: what a person asked for, what was flashed
// already, the first profile that matches.
func (p Policy) Decide(m boot.Machine, f boot.Facts) Decision {
	d := Decision{Machine: m, Profile: boot.Choose(p.Profiles, f)}
	d.Board, _ = board.ByName(f.Board)
	switch {
	case d.Profile != nil:
		d.Action, d.Disk = d.Profile.Action, d.Profile.Disk
		// A machine keeps every MAC it was seen with, a shared dock's or a
		// forged one included. Any of them may select its profile. But
		// overwrite counts only if the profile also matches the MAC in use
		// now. Otherwise a stale alias could wipe the disk.
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
			d.Action, d.asked = boot.ActionLocal, w.Job
		case d.Profile.Action == boot.ActionFlash:
			d.Action, d.asked = boot.ActionFlash, w.Job
			d.Disk.Overwrite = d.Disk.Overwrite || w.Overwrite
		}
	}
	return d
}

// Local reports whether the machine is to boot from its disk.
func (d Decision) Local() bool { return d.Action == boot.ActionLocal }

// FlashImage names the image of the machine's profile, by a key of the
// config's images or a name under the root. It is false where the profile
// flashes nothing, or has no image for the machine's board.
func (d Decision) FlashImage() (string, bool) {
	if d.Profile == nil || d.Profile.Action != boot.ActionFlash {
		return "", false
	}
	return d.Profile.Image(d.Machine.Board)
}

// Job names what the machine has to do. It stays the same over every boot that
// this takes. digest is the SHA-256 of the manifest of the image of FlashImage, ""
// where there is none.
func (d Decision) Job(digest string) string {
	if d.asked != "" {
		return d.asked
	}
	return JobID(d.Machine.ID, digest, string(d.Action))
}

// JobID is computed from the machine, what it gets, and to what end. So nothing
// has to be remembered for it.
func JobID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
