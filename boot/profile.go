package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Profile decides what a machine gets. The zero Match matches every machine.
type Profile struct {
	Name      string
	Match     Match
	Action    Action
	Images    map[string]string // image name by board name; "" stands for any board
	Disk      Disk
	Transfer  Transfer
	OnFailure Next
	Then      Next
	Kernel    string // a file name under the served root, for ActionBoot
	Initrd    string
	Cmdline   string
}

// Image returns the name of the image for a board.
func (p *Profile) Image(board string) (string, bool) {
	if name, ok := p.Images[board]; ok {
		return name, true
	}
	name, ok := p.Images[""]
	return name, ok
}

// A Match selects machines. Each list that is not empty must hold the machine's
// value.
type Match struct {
	MAC       []string // globs over aa:bb:cc:dd:ee:ff in lower case
	UUID      []UUID
	Serial    []string // globs
	Board     []string
	Arch      []string // GOARCH
	Interface []string // on which the appliance heard the machine
	Circuit   []string // globs over the relay's circuit ID (RFC 3046 section 3.1), as text
}

// Facts is what is known of a machine when its profile is chosen. A zero value
// says nothing.
type Facts struct {
	MAC       MAC   // of the link that the machine uses now
	MACs      []MAC // every MAC that the machine was seen with
	UUID      *UUID // nil unless it tells machines apart
	Serial    string
	Board     string // name
	Arch      string // GOARCH
	Interface string // on which the appliance heard the machine
	Circuit   string // the relay's circuit ID (RFC 3046 section 3.1), as text
}

// Specific reports whether the match picks out single machines. It does so by
// UUID, by serial, or by MACs whose vendor half is written out. Otherwise a
// mistake in the profile could reach every disk on the LAN.
func (m Match) Specific() bool {
	return len(m.UUID) > 0 || specific(m.Serial, 1) || specific(m.MAC, 6)
}

// specific reports whether each glob has at least so many literal letters and
// digits.
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
	if len(m.MAC) > 0 && !slices.ContainsFunc(f.MACs, func(a MAC) bool { return matchesAny(m.MAC, a.String()) }) {
		return false
	}
	if len(m.UUID) > 0 && (f.UUID == nil || !slices.Contains(m.UUID, *f.UUID)) {
		return false
	}
	return emptyOrMatches(m.Serial, f.Serial) && emptyOrMatches(m.Board, f.Board) && emptyOrMatches(m.Arch, f.Arch) &&
		emptyOrMatches(m.Interface, f.Interface) && emptyOrMatches(m.Circuit, f.Circuit)
}

func emptyOrMatches(globs []string, value string) bool {
	return len(globs) == 0 || matchesAny(globs, value)
}

func matchesAny(globs []string, value string) bool {
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

// Disk says which disk of a machine may be written. The zero value means the
// first blank disk that is large enough.
type Disk struct {
	Serial    string `json:"serial,omitempty"`
	WWN       string `json:"wwn,omitempty"`
	Model     string `json:"model,omitempty"` // glob
	Min       int64  `json:"min,omitempty"`   // bytes
	Max       int64  `json:"max,omitempty"`   // bytes, 0: no limit
	Overwrite bool   `json:"overwrite,omitempty"`
}

// Transfer says by which protocols an image is fetched.
type Transfer struct {
	Order   []string // of tftp, ftp, http
	TFTPMax int64    // a larger file, in bytes as stored, is fetched by TFTP last
}

// DefaultTransfer is used where a profile says nothing.
var DefaultTransfer = Transfer{Order: sources(), TFTPMax: 16 << 20}

// OneOf returns an error where value is none of want. The error names key and
// the values it may have.
func OneOf[T ~string](key string, value T, want ...T) error {
	if slices.Contains(want, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %q", key, value, want)
}
