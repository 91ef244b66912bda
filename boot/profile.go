package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Profile decides what the machines it matches get. The zero Match matches all.
type Profile struct {
	Name      string
	Match     Match
	Action    Action
	Images    map[string]string // image name by board name; "" is any board
	Disk      Disk
	Transfer  Transfer
	OnFailure Next
	Then      Next
	Kernel    string // file names under the served root, for ActionBoot
	Initrd    string
	Cmdline   string
}

// Image returns the image for a board.
func (p *Profile) Image(board string) (string, bool) {
	if name, ok := p.Images[board]; ok {
		return name, true
	}
	name, ok := p.Images[""]
	return name, ok
}

// Match names machines: each list that is not empty must hold the machine's value.
type Match struct {
	MAC       []string // globs over aa:bb:cc:dd:ee:ff in lower case
	UUID      []UUID
	Serial    []string // globs
	Board     []string
	Arch      []string // GOARCH
	Interface []string // on which the appliance heard it
	Circuit   []string // globs over the relay's circuit ID (RFC 3046 section 3.1), as text
}

// Facts is what is known of a machine when a profile is chosen for it. The zero
// value of each says nothing.
type Facts struct {
	MAC       MAC   // of the link that it uses now
	MACs      []MAC // all that it was seen with
	UUID      *UUID // nil unless it tells machines apart
	Serial    string
	Board     string // name
	Arch      string // GOARCH
	Interface string // on which the appliance heard it
	Circuit   string // the relay's circuit ID (RFC 3046 section 3.1), as text
}

// Specific reports whether the match picks out machines by something of their
// own, so that a mistake in it cannot reach every disk on the LAN: a UUID, a
// serial, or MACs of which at least the vendor's half is written out.
func (m Match) Specific() bool {
	return len(m.UUID) > 0 || specific(m.Serial, 1) || specific(m.MAC, 6)
}

// specific reports whether each glob has so many letters and digits that stand
// for themselves.
func specific(globs []string, least int) bool {
	return len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool {
		plain := 0
		for class := false; g != ""; g = g[1:] {
			switch c := g[0]; {
			case c == '[':
				class = true
			case c == ']':
				class = false
			case !class && !strings.ContainsRune("*?:-.", rune(c)):
				plain++
			}
		}
		return plain < least
	})
}

// Matches reports whether a machine with these facts is meant.
func (m Match) Matches(f Facts) bool {
	if len(m.MAC) > 0 && !slices.ContainsFunc(f.MACs, func(a MAC) bool { return glob(m.MAC, a.String()) }) {
		return false
	}
	if len(m.UUID) > 0 && (f.UUID == nil || !slices.Contains(m.UUID, *f.UUID)) {
		return false
	}
	return has(m.Serial, f.Serial) && has(m.Board, f.Board) && has(m.Arch, f.Arch) &&
		has(m.Interface, f.Interface) && has(m.Circuit, f.Circuit)
}

func has(globs []string, value string) bool { return len(globs) == 0 || glob(globs, value) }

func glob(globs []string, value string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, value)
		return ok && err == nil
	})
}

// Choose returns the first profile that matches, or nil.
func Choose(profiles []*Profile, f Facts) *Profile {
	for _, p := range profiles {
		if p.Match.Matches(f) {
			return p
		}
	}
	return nil
}

// Disk says which disk of a machine an image may go to. The zero value is any
// blank disk that is large enough, the first where there are several.
type Disk struct {
	Serial    string `json:"serial,omitempty"`
	WWN       string `json:"wwn,omitempty"`
	Model     string `json:"model,omitempty"` // glob
	Min       int64  `json:"min,omitempty"`   // bytes
	Max       int64  `json:"max,omitempty"`   // bytes, 0: no limit
	Overwrite bool   `json:"overwrite,omitempty"`
}

// Transfer is the policy by which an image travels.
type Transfer struct {
	Order   []string // of tftp, ftp, http
	TFTPMax int64    // a larger file, in bytes as stored, asks TFTP last
}

// DefaultTransfer holds where a profile says nothing.
var DefaultTransfer = Transfer{Order: sources(), TFTPMax: 16 << 20}

// OneOf returns an error that names what key may say, where value is none of it.
func OneOf[T ~string](key string, value T, want ...T) error {
	if slices.Contains(want, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %q", key, value, want)
}
