package appliance

import (
	"context"
	"errors"
	"io/fs"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/policy"
)

// orders takes what changes a machine: its reports and a person's orders.
type orders struct{ *plans }

// reported is web.Server.Reported. It records a finished flash.
func (o orders) reported(ctx context.Context, id string, ev boot.Event) error {
	if ev.Kind != boot.KindDone || ev.Digest == "" {
		return nil
	}
	if ok, err := o.planned(ctx, id, ev); err != nil || !ok {
		return err
	}
	_, err := o.registry.Update(ctx, id, func(m *boot.Machine) error {
		m.Flashed = &boot.Flashed{Job: ev.Job, Image: ev.Image, ManifestSHA256: ev.Digest, Disk: ev.Disk, Time: ev.Time}
		if m.Wanted != nil && m.Wanted.Job == ev.Job {
			m.Wanted = nil
		}
		return nil
	})
	return err
}

// planned reports whether an event can belong to a flash that we planned.
// Anybody can fetch a plan, and so a token, in a machine's name. So "done" is
// kept only for the image that the plan named. The job proves it, even if the
// image was replaced meanwhile. The digest proves it, even if a restart gave
// the machine another ID.
func (o orders) planned(ctx context.Context, id string, ev boot.Event) (bool, error) {
	m, err := o.registry.Find(ctx, id)
	if err != nil {
		return false, err
	}
	if ev.Job == policy.JobID(id, ev.Digest, string(boot.ActionFlash)) || m.Wanted != nil && m.Wanted.Action == boot.ActionFlash && m.Wanted.Job == ev.Job {
		return true, nil
	}
	if m.Flashed != nil && m.Flashed.Job == ev.Job {
		return false, nil // a repeated report
	}
	d, err := o.decide(ctx, ev.MAC)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	image, _ := o.image(ctx, d) // without one the digest is of no plan
	if d.Machine.ID == id && ev.Digest == digestOf(image) {
		return true, nil
	}
	o.log.Warn("a device says that it was flashed, but no plan was for that", "machine", id, "mac", ev.MAC, "job", ev.Job, "digest", ev.Digest)
	return false, nil
}

// control is web.Server.Control. It records a person's order.
func (o orders) control(ctx context.Context, id string, order boot.Order) error {
	if !order.Action.Row().InOrder {
		return errors.New("control: only flash and local can be asked for")
	}
	m, err := o.registry.Update(ctx, id, func(m *boot.Machine) error {
		m.Wanted = &boot.Wanted{Order: order, Job: boot.RandomHex(8)}
		return nil
	})
	if err != nil {
		return err
	}
	text := "asked to boot from its disk"
	if order.Action == boot.ActionFlash {
		text = "asked to be flashed at its next boot"
		if order.Overwrite {
			text += ", over what its disk holds"
		}
		if p := boot.Choose(o.policy.Profiles, factsOf(m)); p == nil || p.Action != boot.ActionFlash {
			text += "; but no profile with action flash matches it"
		}
	}
	ev := boot.Event{Machine: m.ID, Job: m.Wanted.Job, Kind: boot.KindAsked, Text: text}
	if len(m.MACs) > 0 {
		ev.MAC = m.MACs[0]
	}
	o.journal.Add(ev)
	return nil
}
