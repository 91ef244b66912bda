package appliance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/policy"
)

// plans makes the plan of each boot, and the token for the device's reports.
type plans struct {
	*machines
	urls    *urls
	images  map[string]string // file names by key of the config's images
	key     []byte            // the key of the tokens' HMAC
	journal *journal.Journal
	log     *slog.Logger
}

// write makes the plan of one machine for one boot. from is the client's
// address. If no plan can be made, the machine gets a wait with the reason. A
// person at the machine does not see our log.
func (ps *plans) write(ctx context.Context, mac boot.MAC, bootID string, from netip.Addr) ([]byte, error) {
	d, err := ps.decide(ctx, mac)
	if err != nil {
		return nil, err
	}
	p := ps.outline(d, mac, bootID, ps.urls.addrFor(from))
	text, err := ps.fill(ctx, d, p)
	ev := boot.Event{Machine: d.Machine.ID, MAC: mac, Boot: bootID, Kind: boot.KindPlan, Text: text}
	if err != nil {
		ps.log.Warn("no plan", "mac", mac, "err", err, "cause", files.Cause(err))
		text = "no plan: " + err.Error()
		p.Action, p.Text, p.Job = boot.ActionWait, text, policy.JobID(d.Machine.ID, text)
		p.Image, p.Kernel, p.Initrd = nil, nil, nil
		ev.Kind, ev.Text = boot.KindFailed, text
	}
	ev.Job, p.Token = p.Job, ps.token(mac, bootID, p.Job)
	ps.journal.Add(ev)
	return json.Marshal(p)
}

// outline makes the part of a plan that every action has.
func (ps *plans) outline(d policy.Decision, mac boot.MAC, bootID string, self netip.Addr) *boot.Plan {
	p := &boot.Plan{
		V: boot.PlanVersion, Machine: d.Machine.ID, MAC: mac, Boot: bootID,
		Action: d.Action, Disk: d.Disk, TFTPMax: boot.DefaultTransfer.TFTPMax,
		Sources: ps.urls.sources(self, boot.DefaultTransfer.Order),
		Report:  ps.urls.base("http", self),
		Then:    boot.Reboot, OnFailure: boot.Retry,
	}
	if d.Profile != nil {
		p.Then, p.OnFailure = d.Profile.Then, d.Profile.OnFailure
		p.TFTPMax = d.Profile.Transfer.TFTPMax
		p.Sources = ps.urls.sources(self, d.Profile.Transfer.Order)
	}
	return p
}

// fill adds what the plan's action needs. It returns the text for the journal.
func (ps *plans) fill(ctx context.Context, d policy.Decision, p *boot.Plan) (text string, err error) {
	text = "plan: " + string(d.Action)
	image, noImage := ps.image(ctx, d)
	p.Job = d.Job(digestOf(image))
	row := d.Action.Row()
	if row.NeedsFlashed {
		p.Flashed = d.Machine.Flashed
	}
	switch {
	case row.NeedsImage:
		if noImage != nil {
			return text, noImage
		}
		p.Image = image
		text += " " + image.Name
	case row.NeedsKernel:
		if d.Board != nil && !d.Board.Kexec() {
			err = fmt.Errorf("action boot needs kexec, which 32-bit ARM (%s) does not have", d.Board.Name)
		} else {
			err = ps.kernel(ctx, d.Profile, p)
		}
		text += " " + d.Profile.Kernel
	}
	return text, err
}

// kernel adds the files of action boot. Their digests make sure that the device
// runs what is here now.
func (ps *plans) kernel(ctx context.Context, profile *boot.Profile, p *boot.Plan) (err error) {
	if p.Kernel, err = ps.catalog.File(ctx, profile.Kernel); err != nil {
		return err
	}
	if profile.Initrd != "" {
		if p.Initrd, err = ps.catalog.File(ctx, profile.Initrd); err != nil {
			return err
		}
	}
	p.Cmdline = profile.Cmdline
	return nil
}

// image describes the image of a decision's profile as it is in the root now. A
// profile that flashes nothing has none, which is an error too.
func (ps *plans) image(ctx context.Context, d policy.Decision) (*boot.Image, error) {
	name, ok := d.FlashImage()
	switch {
	case d.Profile == nil:
		return nil, errors.New("no profile, so no image")
	case !ok:
		return nil, fmt.Errorf("profile %s has no image for board %q", d.Profile.Name, d.Machine.Board)
	}
	if file, ok := ps.images[name]; ok {
		name = file
	}
	return ps.catalog.Image(ctx, name)
}

// digestOf returns the digest of an image's manifest, "" for none.
func digestOf(im *boot.Image) string {
	if im == nil {
		return ""
	}
	return im.ManifestSHA256
}

// token is the secret with which a device reports on one boot and job. It is
// computed, not stored. So it outlives a restart and costs no memory.
func (ps *plans) token(mac boot.MAC, bootID, job string) string {
	h := hmac.New(sha256.New, ps.key)
	fmt.Fprintf(h, "event %s %s %s", mac, bootID, job)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// verify is web.Server.Verify. It returns the machine that a token belongs to.
func (ps *plans) verify(ctx context.Context, mac boot.MAC, bootID, job, token string) (machine string, err error) {
	if !hmac.Equal([]byte(token), []byte(ps.token(mac, bootID, job))) {
		return "", errors.New("wrong token for this machine, boot and job")
	}
	d, err := ps.decide(ctx, mac)
	return d.Machine.ID, err
}
