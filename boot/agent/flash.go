package agent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/agent/source"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

// Flash is the outcome of action flash: the image goes to the disk that the
// plan allows, is read back, and the appliance hears of it; then the machine
// does what `then` says.
func Flash(ctx context.Context, s *Session, p *boot.Plan) error {
	m, err := s.manifest(ctx, p)
	if err != nil {
		return err
	}
	disk, res, err := s.flash(ctx, p, m)
	if err != nil {
		return err
	}
	ev := boot.Event{
		Kind: boot.KindVerify, Image: p.Image.Name, Digest: p.Image.ManifestSHA256, File: p.Image.Name,
		Disk: disk.Serial, Bytes: res.Verified, Total: m.Raw.Size, Took: res.VerifyTook,
		Text: fmt.Sprintf("%s: read back %s, all as it should be", disk.Name, human.Bytes(res.Verified)),
	}
	text := fmt.Sprintf("%s is on %s, %s written and read back", p.Image.Name, disk, human.Size(m.Raw.Size))
	if res.Written == 0 {
		ev.Took = res.CheckTook
		text = fmt.Sprintf("%s was on %s already, nothing was written", p.Image.Name, disk)
	}
	if res.Note != "" {
		s.say("%s", res.Note)
	}
	s.Reporter.Report(ev)
	ev.Kind, ev.Text, ev.Took = boot.KindDone, text, res.CheckTook+res.WriteTook+res.VerifyTook
	if err := s.acknowledged(ctx, ev); err != nil {
		return err
	}
	if then := s.next(p, disk); then != "" {
		text += "; " + then
	}
	s.say("done: %s", text)
	if p.Then == boot.Wait {
		s.settled = p.Job
		return nil
	}
	if p.Then == boot.Poweroff {
		return s.Leave(ctx, boot.Poweroff)
	}
	return s.Leave(ctx, boot.Reboot)
}

// next makes the firmware boot from the disk at the reset that follows, where
// that takes BootNext, and says how.
func (s *Session) next(p *boot.Plan, disk flash.Disk) string {
	if p.Then == boot.Wait || p.Then == boot.Poweroff || !s.cfg.Init || !isEFI() {
		return ""
	}
	e, err := bootNext(disk)
	if err != nil {
		text := fmt.Sprintf("%s: BootNext could not be set: %v", disk.Name, err)
		s.Reporter.Report(boot.Event{Kind: boot.KindLocal, Disk: disk.Serial, Text: text})
		return text
	}
	s.Reporter.Report(boot.Event{Kind: boot.KindLocal, Disk: disk.Serial, Text: "BootNext is " + e.String()})
	return "BootNext is " + e.String()
}

// manifest gets the image's manifest. It is not parsed before it has the
// digest that the plan names.
func (s *Session) manifest(ctx context.Context, p *boot.Plan) (*images.Manifest, error) {
	name := p.Image.Name + images.ManifestSuffix
	f := pull.File{Name: name, Size: p.Image.ManifestSize, SHA256: p.Image.ManifestSHA256}
	if f.Size <= 0 {
		f.Size = -1
	}
	get := s.puller(p, name)
	get.Progress = nil // it is over before a bar is drawn
	raw, err := get.FetchSmall(ctx, f, images.MaxManifest)
	if err != nil {
		return nil, err
	}
	m, err := images.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Stored.Size != p.Image.Size {
		return nil, fmt.Errorf("%s: the image has %d bytes, the plan says %d", name, m.Stored.Size, p.Image.Size)
	}
	return m, nil
}

// flash writes the image to the disk that the plan's rule selects.
func (s *Session) flash(ctx context.Context, p *boot.Plan, m *images.Manifest) (flash.Disk, flash.Result, error) {
	disks, err := s.disks()
	if err != nil {
		return flash.Disk{}, flash.Result{}, err
	}
	disk, err := flash.Select(disks, p.Disk, m)
	if err != nil {
		return flash.Disk{}, flash.Result{}, err
	}
	res, err := s.write(ctx, p, m, disk)
	if err != nil {
		err = fmt.Errorf("%s for %s: %w", p.Image.Name, disk.Name, err)
	}
	return disk, res, err
}

func (s *Session) write(ctx context.Context, p *boot.Plan, m *images.Manifest, disk flash.Disk) (flash.Result, error) {
	dev, err := flash.Open(disk.Path)
	if err != nil {
		return flash.Result{}, err
	}
	defer dev.Close()
	s.say("%s, %s raw, is for %s", p.Image.Name, human.Size(m.Raw.Size), disk)
	get := s.puller(p, p.Image.Name)
	file := pull.File{Name: p.Image.Name, Size: m.Stored.Size, SHA256: m.Stored.SHA256}
	fetch := func(ctx context.Context, w io.Writer) error { return get.Fetch(ctx, file, w) }
	var meter human.Meter
	stage := ""
	opt := flash.Options{Overwrite: p.Disk.Overwrite, Progress: func(now string, done, total int64) {
		if now != stage {
			meter, stage = human.Meter{}, now
		}
		if stage == flash.StageWrite { // the bar shows what comes in
			s.Reporter.Report(boot.Event{
				Kind: boot.KindWrite, File: p.Image.Name, Image: p.Image.Name, Disk: disk.Serial, Bytes: done, Total: total,
				Text: fmt.Sprintf("%s: %s of %s", disk.Name, human.Bytes(done), human.Bytes(total)),
			})
			return
		}
		meter.Add(time.Now(), done)
		s.screen.draw(done == total, func() string {
			return human.Bar{Label: stage, Done: done, Total: total, Rate: meter.Rate()}.String()
		})
	}}
	return flash.Write(ctx, dev, m, source.Stream(fetch, available()), opt)
}

// available is the memory that could be had now, in bytes; 0 where nobody knows.
func available() int64 {
	free, err := memory("MemAvailable")
	if err != nil {
		return 0
	}
	return free
}

func (s *Session) disks() ([]flash.Disk, error) {
	if s.cfg.Disks != nil {
		return s.cfg.Disks()
	}
	return flash.Disks()
}

// flashedDisk is the disk that a plan says was flashed: by its serial, or
// where it has none the only disk there is.
func (s *Session) flashedDisk(p *boot.Plan) (flash.Disk, error) {
	disks, err := s.disks()
	if err != nil {
		return flash.Disk{}, err
	}
	if p.Flashed != nil && p.Flashed.Disk != "" {
		i := slices.IndexFunc(disks, func(d flash.Disk) bool { return d.Serial == p.Flashed.Disk })
		if i < 0 {
			return flash.Disk{}, fmt.Errorf("the disk that was flashed, serial %s, is not here", p.Flashed.Disk)
		}
		return disks[i], nil
	}
	disks = slices.DeleteFunc(disks, func(d flash.Disk) bool { return d.Removable })
	if len(disks) != 1 {
		return flash.Disk{}, fmt.Errorf("there are %d disks, and the plan names none by its serial", len(disks))
	}
	return disks[0], nil
}
