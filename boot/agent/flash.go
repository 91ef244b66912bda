package agent

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/agent/source"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

// flashImage is the outcome of action flash. The image goes to the disk that the
// plan allows and is read back. The appliance hears of it. Then the machine does
// what `then` says.
func flashImage(ctx context.Context, s *Session, p *boot.Plan) error {
	m, err := fetchManifest(ctx, s, p)
	if err != nil {
		return err
	}
	disks, err := s.machine.disks()
	if err != nil {
		return err
	}
	disk, err := flash.Select(disks, p.Disk, m)
	if err != nil {
		return err
	}
	res, err := writeImage(ctx, s, p, m, disk)
	if err != nil {
		return fmt.Errorf("%s for %s: %w", p.Image.Name, disk.Name, err)
	}
	return flashed(ctx, s, p, m, disk, res)
}

// flashed says and reports that the disk holds the image, and leaves.
func flashed(ctx context.Context, s *Session, p *boot.Plan, m *images.Manifest, disk flash.Disk, res flash.Result) error {
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
		s.console.say("%s", res.Note)
	}
	s.Reporter.Report(ev)
	ev.Kind, ev.Text, ev.Took = boot.KindDone, text, res.CheckTook+res.WriteTook+res.VerifyTook
	if err := s.acknowledged(ctx, ev); err != nil {
		return err
	}
	if then := setBootNext(s, p, disk); then != "" {
		text += "; " + then
	}
	s.console.say("done: %s", text)
	if p.Then == boot.Wait {
		s.settled = p.Job
		return nil
	}
	if p.Then == boot.Poweroff {
		return s.leave(ctx, boot.Poweroff)
	}
	return s.leave(ctx, boot.Reboot)
}

// setBootNext makes the firmware boot from the disk at the reset that follows.
// It says how, or "" where that does not take BootNext.
func setBootNext(s *Session, p *boot.Plan, disk flash.Disk) string {
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

// fetchManifest gets the image's manifest. It is not parsed before it has the
// digest that the plan names.
func fetchManifest(ctx context.Context, s *Session, p *boot.Plan) (*images.Manifest, error) {
	name := p.Image.Name + images.ManifestSuffix
	f := pull.File{Name: name, Size: p.Image.ManifestSize, SHA256: p.Image.ManifestSHA256}
	if f.Size <= 0 {
		f.Size = -1
	}
	get := newPuller(s, p, name)
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

// writeImage pulls the image onto the disk, and shows and reports how far it is.
func writeImage(ctx context.Context, s *Session, p *boot.Plan, m *images.Manifest, disk flash.Disk) (flash.Result, error) {
	dev, err := flash.Open(disk.Path)
	if err != nil {
		return flash.Result{}, err
	}
	defer dev.Close()
	s.console.say("%s, %s raw, is for %s", p.Image.Name, human.Size(m.Raw.Size), disk)
	get := newPuller(s, p, p.Image.Name)
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
		s.console.draw(done == total, func() string {
			return human.Bar{Label: stage, Done: done, Total: total, Rate: meter.Rate()}.String()
		})
	}}
	return flash.Write(ctx, dev, m, source.Stream(fetch, available()), opt)
}
