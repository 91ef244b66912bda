package appliance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/images"
)

// plan makes the plan of one machine for one boot, to be fetched from `from`.
func (a *Appliance) plan(ctx context.Context, mac boot.MAC, bootID string, from netip.Addr) ([]byte, error) {
	d, err := a.byMAC(ctx, mac)
	if err != nil {
		return nil, err
	}
	self := a.addrFor(from)
	p := boot.Plan{
		V: boot.PlanVersion, Machine: d.machine.ID, MAC: mac, Boot: bootID, Job: d.job,
		Action: d.action, Disk: d.disk, TFTPMax: boot.DefaultTransfer.TFTPMax,
		Sources: a.sources(self, boot.DefaultTransfer.Order),
		Report:  a.base("http", self),
		Then:    boot.Reboot, OnFailure: boot.Retry,
	}
	if d.profile != nil {
		p.Then, p.OnFailure = d.profile.Then, d.profile.OnFailure
		p.TFTPMax = d.profile.Transfer.TFTPMax
		p.Sources = a.sources(self, d.profile.Transfer.Order)
	}
	text := "plan: " + string(d.action)
	row := d.action.Row()
	if row.NeedsFlashed {
		p.Flashed = d.machine.Flashed
	}
	switch {
	case row.NeedsImage:
		if p.Image, err = a.image(d); err == nil {
			text += " " + p.Image.Name
		}
	case row.NeedsKernel:
		if d.board != nil && !d.board.Kexec() {
			err = fmt.Errorf("action boot needs kexec, which 32-bit ARM (%s) does not have", d.board.Name)
		} else {
			err = a.kernel(ctx, d.profile, &p)
		}
		text += " " + d.profile.Kernel
	}
	ev := boot.Event{Machine: d.machine.ID, MAC: mac, Boot: bootID, Kind: boot.KindPlan, Text: text}
	if err != nil {
		// The machine waits, and says why on its console: whoever stands
		// before it does not see our log.
		text = "no plan: " + err.Error()
		a.log.Warn("no plan", "mac", mac, "error", err, "cause", images.Cause(err))
		p.Action, p.Text, p.Job = boot.ActionWait, text, jobID(d.machine.ID, text)
		p.Image, p.Kernel, p.Initrd = nil, nil, nil
		ev.Kind, ev.Text = boot.KindFailed, text
	}
	ev.Job, p.Token = p.Job, a.token(mac, bootID, p.Job)
	a.journal.Add(ev)
	return json.Marshal(p)
}

// kernel fills in the files of action boot with their digests, so that the
// device runs only what lies here now.
func (a *Appliance) kernel(ctx context.Context, profile *boot.Profile, p *boot.Plan) (err error) {
	if p.Kernel, err = a.file(ctx, profile.Kernel); err != nil {
		return err
	}
	if profile.Initrd != "" {
		if p.Initrd, err = a.file(ctx, profile.Initrd); err != nil {
			return err
		}
	}
	p.Cmdline = profile.Cmdline
	return nil
}

// sources lists base URLs in the profile's order, without what is off.
func (a *Appliance) sources(self netip.Addr, order []string) []string {
	var out []string
	for _, proto := range order {
		if base := a.base(proto, self); base != "" {
			out = append(out, base)
		}
	}
	return out
}

// base is where a protocol serves the root, "" where it is off. It ends in /.
func (a *Appliance) base(proto string, self netip.Addr) string {
	listen, port := a.listen(proto)
	if listen == "" {
		return ""
	}
	return proto + "://" + hostPort(self, listen, port) + "/"
}

func (a *Appliance) listen(proto string) (addr, port string) {
	switch proto {
	case "tftp":
		return a.cfg.TFTP, "69"
	case "ftp":
		return a.cfg.FTP, "21"
	}
	return a.cfg.HTTP, "80"
}

// hostPort is the authority of a URL: without the port where it is the usual one.
func hostPort(self netip.Addr, listen, usual string) string {
	_, port, _ := net.SplitHostPort(listen)
	if port == usual {
		if self.Is6() {
			return "[" + self.String() + "]"
		}
		return self.String()
	}
	return net.JoinHostPort(self.String(), port)
}

// token is what a device must show to report on one boot and job. It is
// computed, not remembered, so it outlives a restart and costs no memory.
func (a *Appliance) token(mac boot.MAC, bootID, job string) string {
	h := hmac.New(sha256.New, a.key)
	fmt.Fprintf(h, "event %s %s %s", mac, bootID, job)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// verify is web.Server.Verify.
func (a *Appliance) verify(mac boot.MAC, bootID, job, token string) (machine string, err error) {
	if !hmac.Equal([]byte(token), []byte(a.token(mac, bootID, job))) {
		return "", errors.New("wrong token for this machine, boot and job")
	}
	d, err := a.byMAC(context.Background(), mac)
	return d.machine.ID, err
}
