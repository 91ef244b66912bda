package appliance

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// canServe looks whether the machines of a profile with action serve get firmware
// that can. What a board's firmware is made of stands beside it; one without
// that file is the user's own, of which nothing is known. A board that cannot
// is a warning while another can: who knows which of them the profile is for.
func (a *Appliance) canServe(p *boot.Profile) error {
	if p.Action != boot.ActionServe {
		return nil
	}
	match := boot.Match{Board: p.Match.Board, Arch: p.Match.Arch}
	able, unable := 0, []string(nil)
	for _, b := range board.Boards {
		if !a.firmed(b) || !match.Matches(boot.Facts{Board: b.Name, Arch: b.Arch}) {
			continue
		}
		if a.lacksServe(b) {
			unable = append(unable, b.Name)
		} else {
			able++
		}
	}
	if len(unable) == 0 {
		return nil
	}
	if able == 0 {
		return fmt.Errorf("action serve: the firmware of %s was made without the serving half; `mkboot build --serve` includes it",
			strings.Join(unable, ", "))
	}
	a.log.Warn("action serve, but firmware was made without the serving half; `mkboot build --serve` includes it",
		"profile", p.Name, "boards", unable)
	return nil
}

// maxBuild bounds what is read of a BUILD file, which has a line a module.
const maxBuild = 64 << 10

// lacksServe reports whether the record of a board's firmware says that it is
// without the serving half.
func (a *Appliance) lacksServe(b *board.Board) bool {
	f, err := a.tree.Open(b.File(board.Build), a.self)
	if err != nil {
		return false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBuild))
	return err == nil && slices.ContainsFunc(bytes.Split(raw, []byte("\n")), func(line []byte) bool {
		return string(line) == "serve false"
	})
}
