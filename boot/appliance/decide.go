package appliance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/registry"
)

// A decision is what one machine gets now.
type decision struct {
	machine boot.Machine
	board   *board.Board  // nil where nothing is known
	profile *boot.Profile // nil: no profile matched, or there are none
	action  boot.Action
	job     string
	disk    boot.Disk
}

// decide is the one place where a machine's action is chosen: by what a person
// asked for, by what was flashed already, by the first profile that matches.
// mac is that of the link it is heard on now.
func (a *Appliance) decide(m boot.Machine, f boot.Facts, mac boot.MAC) decision {
	d := decision{machine: m, profile: boot.Choose(a.cfg.Profiles, f)}
	d.board, _ = board.ByName(f.Board)
	switch {
	case d.profile != nil:
		d.action, d.disk = d.profile.Action, d.profile.Disk
		// A machine keeps the MACs it was ever heard with: those of a dock that
		// others use as well, or that somebody made up. They may choose its
		// profile, but not that what its disk holds is lost.
		now := f
		now.MACs = []boot.MAC{mac}
		d.disk.Overwrite = d.disk.Overwrite && d.profile.Match.Matches(now)
	case len(a.cfg.Profiles) == 0:
		d.action = boot.ActionWait
	default:
		d.action = a.cfg.Unknown
	}
	if d.action == boot.ActionFlash && m.Flashed != nil {
		d.action = boot.ActionLocal
	}
	d.job = jobID(m.ID, a.imageDigest(d), string(d.action))
	if w := m.Wanted; w != nil && d.profile != nil {
		switch {
		case w.Action == boot.ActionLocal:
			d.action, d.job = boot.ActionLocal, w.Job
		case d.profile.Action == boot.ActionFlash:
			d.action, d.job = boot.ActionFlash, w.Job
			d.disk.Overwrite = d.disk.Overwrite || w.Overwrite
		}
	}
	return d
}

// jobID is the same over every boot that a job takes, and nothing has to be
// remembered for it: the machine, what it gets, and to what end.
func jobID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// imageDigest names what a decision would flash, "" where it is no flash.
func (a *Appliance) imageDigest(d decision) string {
	if d.profile == nil || d.profile.Action != boot.ActionFlash {
		return ""
	}
	if im, err := a.image(d); err == nil {
		return im.ManifestSHA256
	}
	return ""
}

// bootInfo is Decide of the servers of DHCP: who is this, and what may it boot?
func (a *Appliance) bootInfo(ctx context.Context, r boot.Request) (boot.BootInfo, error) {
	traits := registry.Traits{MAC: r.MAC, UUID: r.UUID, Board: r.Board}
	if b, ok := board.ByName(r.Board); ok && !r.FromAgent() { // which runs on the board that it says
		traits.Board = a.runs(b).Name
	}
	m, err := a.registry.Identify(ctx, traits)
	if err != nil {
		return boot.BootInfo{}, err
	}
	f := facts(m)
	f.MAC, f.Interface, f.Circuit = r.MAC, r.Interface, r.Circuit
	a.heard.put(r.MAC, f)
	d := a.decide(m, f, r.MAC)
	info := boot.BootInfo{Machine: m.ID}
	if d.action == boot.ActionIgnore {
		// With no profile for it a machine may still have an address in full
		// mode; a profile that says ignore means silence.
		info.Silent = d.profile != nil || a.cfg.DHCP.Mode != "full"
		return info, nil
	}
	if r.Loader != nil {
		info.Bootfile = a.bootfile(d, r)
	}
	return info, nil
}

// facts are those of the machine itself.
func facts(m boot.Machine) boot.Facts {
	f := boot.Facts{MACs: m.MACs, UUID: m.UUID, Serial: m.Serial, Board: m.Board}
	if b, ok := board.ByName(m.Board); ok {
		f.Arch = b.Arch
	}
	return f
}

// byMAC decides for a machine that asks by name, not by DHCP: what was last
// heard of it says on which interface it is.
func (a *Appliance) byMAC(ctx context.Context, mac boot.MAC) (decision, error) {
	if !mac.Station() {
		return decision{}, fs.ErrNotExist
	}
	m, err := a.registry.Identify(ctx, registry.Traits{MAC: mac})
	if err != nil {
		return decision{}, err
	}
	f := facts(m)
	if h, ok := a.heard.get(mac); ok {
		f.Interface, f.Circuit = h.Interface, h.Circuit
		if f.Board == "" {
			f.Board, f.Arch = h.Board, h.Arch
		}
	}
	if !slices.Contains(f.MACs, mac) {
		f.MACs = append(slices.Clone(f.MACs), mac)
	}
	d := a.decide(m, f, mac)
	if d.action == boot.ActionIgnore {
		return d, fs.ErrNotExist
	}
	return d, nil
}

// reported is web.Server.Reported: what a device says may change what it gets.
func (a *Appliance) reported(ctx context.Context, id string, ev boot.Event) error {
	if ev.Kind != boot.KindDone || ev.Digest == "" {
		return nil
	}
	if ok, err := a.planned(ctx, id, ev); err != nil || !ok {
		return err
	}
	_, err := a.registry.Update(ctx, id, func(m *boot.Machine) error {
		m.Flashed = &boot.Flashed{Job: ev.Job, Image: ev.Image, ManifestSHA256: ev.Digest, Disk: ev.Disk, Time: ev.Time}
		if m.Wanted != nil && m.Wanted.Job == ev.Job {
			m.Wanted = nil
		}
		return nil
	})
	return err
}

// planned reports whether an event can be of a flash that was planned here.
// Anyone can fetch a plan, and so a token, in a machine's name; what he says
// then must not be remembered unless it is what that plan was for. The job says
// so, though the image was replaced meanwhile; the image does, though the
// appliance was restarted and gave the machine another id.
func (a *Appliance) planned(ctx context.Context, id string, ev boot.Event) (bool, error) {
	m, err := a.registry.Find(ctx, id)
	if err != nil {
		return false, err
	}
	if ev.Job == jobID(id, ev.Digest, string(boot.ActionFlash)) || m.Wanted != nil && m.Wanted.Action == boot.ActionFlash && m.Wanted.Job == ev.Job {
		return true, nil
	}
	if m.Flashed != nil && m.Flashed.Job == ev.Job {
		return false, nil // once more
	}
	d, err := a.byMAC(ctx, ev.MAC)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if d.machine.ID == id && ev.Digest == a.imageDigest(d) {
		return true, nil
	}
	a.log.Warn("a device says that it was flashed, but no plan was for that", "machine", id, "mac", ev.MAC, "job", ev.Job, "digest", ev.Digest)
	return false, nil
}

// control is web.Server.Control: a person asks for something.
func (a *Appliance) control(ctx context.Context, id string, action boot.Action, overwrite bool) error {
	if action != boot.ActionFlash && action != boot.ActionLocal {
		return errors.New("control: only flash and local can be asked for")
	}
	m, err := a.registry.Update(ctx, id, func(m *boot.Machine) error {
		m.Wanted = &boot.Wanted{Action: action, Overwrite: overwrite, Job: boot.NewBoot()[:16]}
		return nil
	})
	if err != nil {
		return err
	}
	text := "asked to boot from its disk"
	if action == boot.ActionFlash {
		text = "asked to be flashed at its next boot"
		if overwrite {
			text += ", over what its disk holds"
		}
		if p := boot.Choose(a.cfg.Profiles, facts(m)); p == nil || p.Action != boot.ActionFlash {
			text += "; but no profile with action flash matches it"
		}
	}
	ev := boot.Event{Machine: m.ID, Job: m.Wanted.Job, Kind: boot.KindAsked, Text: text}
	if len(m.MACs) > 0 {
		ev.MAC = m.MACs[0]
	}
	a.journal.Add(ev)
	return nil
}
