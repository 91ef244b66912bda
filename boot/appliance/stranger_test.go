package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/catalog"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/images"
)

var (
	stranger = files.Client{Addr: netip.MustParseAddr("127.0.0.9"), Via: "tftp"}
	benchMAC = boot.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	otherMAC = boot.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}
)

// newAppliance makes an appliance that flashes benchMAC. All other
// machines wait.
func newAppliance(t *testing.T) *Appliance {
	t.Helper()
	cfg := &config.Config{
		Root: t.TempDir(), State: t.TempDir(), Interface: []string{"lo"}, DHCP: dhcp.Config{Mode: dhcp.Off},
		Listen: map[string]string{"tftp": "127.0.0.1:0", "http": "127.0.0.1:0"}, Unknown: boot.ActionWait,
		Profiles: []*boot.Profile{{
			Name: "bench", Match: boot.Match{MAC: []string{benchMAC.String()}}, Action: boot.ActionFlash,
			Images: map[string]string{"": "lab.raw"}, Transfer: boot.DefaultTransfer, Then: boot.Reboot, OnFailure: boot.Retry,
		}},
	}
	write(t, filepath.Join(cfg.Root, "lab.raw"), bytes.Repeat([]byte("lab"), 1<<20))
	a, err := New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// planFor fetches a plan, as anybody can.
func planFor(t *testing.T, a *Appliance, mac boot.MAC) boot.Plan {
	t.Helper()
	f, err := a.tree.Open(t.Context(), stranger, boot.PlanName(mac, boot.RandomHex(16)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	var p boot.Plan
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// reportDone reports "done" with the token of p. It returns the flash that the
// registry then has.
func reportDone(t *testing.T, a *Appliance, p boot.Plan, digest string) *boot.Flashed {
	t.Helper()
	id, err := a.web.Verify(t.Context(), p.MAC, p.Boot, p.Job, p.Token)
	if err != nil {
		t.Fatal(err)
	}
	ev := boot.Event{Kind: boot.KindDone, MAC: p.MAC, Boot: p.Boot, Job: p.Job, Digest: digest, Disk: "QM1", Time: time.Now()}
	if err := a.web.Reported(t.Context(), id, ev); err != nil {
		t.Fatal(err)
	}
	m, err := a.machines.registry.Find(t.Context(), p.MAC.String())
	if err != nil {
		t.Fatal(err)
	}
	return m.Flashed
}

func TestDoneOfNoPlan(t *testing.T) {
	a := newAppliance(t)
	if f := reportDone(t, a, planFor(t, a, otherMAC), strings.Repeat("0", 64)); f != nil {
		t.Errorf("a machine that was to wait counts as flashed: %+v", f)
	}
	p := planFor(t, a, benchMAC)
	if f := reportDone(t, a, p, strings.Repeat("0", 64)); f != nil {
		t.Errorf("flashed with an image that was not planned: %+v", f)
	}
	if err := a.web.Control(t.Context(), p.Machine, boot.Order{Action: boot.ActionLocal}); err != nil {
		t.Fatal(err)
	}
	if f := reportDone(t, a, planFor(t, a, benchMAC), strings.Repeat("0", 64)); f != nil {
		t.Errorf("a machine that was to boot from its disk counts as flashed: %+v", f)
	}
	if list, _, err := a.state.store.List(t.Context(), "machine/"); err != nil || len(list) != 1 {
		t.Errorf("store has %d machines, %v; want the one that was asked for", len(list), err)
	}
}

func TestDoneOfAPlan(t *testing.T) {
	a := newAppliance(t)
	p := planFor(t, a, benchMAC)
	// The image is replaced while the machine writes the old one.
	write(t, filepath.Join(a.cfg.Root, "lab.raw"), []byte("new"))
	for range 2 { // the first answer may have been lost
		f := reportDone(t, a, p, p.Image.ManifestSHA256)
		if f == nil || f.Job != p.Job {
			t.Fatalf("remembered %+v, want job %s", f, p.Job)
		}
	}
	if p = planFor(t, a, benchMAC); p.Action != boot.ActionLocal || p.Flashed == nil {
		t.Errorf("then: %s", p.Action)
	}
}

func TestDoneAfterRestart(t *testing.T) {
	a := newAppliance(t)
	p := planFor(t, a, benchMAC)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), a.cfg, a.log)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if f := reportDone(t, a, p, p.Image.ManifestSHA256); f == nil {
		t.Error("a machine that finished after a restart of the appliance does not count as flashed")
	}
}

func TestDoneThatWasAskedFor(t *testing.T) {
	a := newAppliance(t)
	p := planFor(t, a, benchMAC)
	for range 2 {
		if f := reportDone(t, a, p, p.Image.ManifestSHA256); f == nil || f.Job != p.Job {
			t.Fatalf("remembered %+v, want job %s", f, p.Job)
		}
		if err := a.web.Control(t.Context(), p.Machine, boot.Order{Action: boot.ActionFlash, Overwrite: true}); err != nil {
			t.Fatal(err)
		}
		if p = planFor(t, a, benchMAC); p.Action != boot.ActionFlash || !p.Disk.Overwrite {
			t.Fatalf("asked to be flashed, told %s, overwrite %v", p.Action, p.Disk.Overwrite)
		}
	}
}

// Anybody can read why there is no plan.
func TestPlanTellsNothingOfTheHost(t *testing.T) {
	a := newAppliance(t)
	if err := os.Remove(filepath.Join(a.cfg.Root, "lab.raw")); err != nil {
		t.Fatal(err)
	}
	if p := planFor(t, a, benchMAC); p.Action != boot.ActionWait || p.Text != "no plan: image lab.raw: open lab.raw: file does not exist" {
		t.Errorf("%s: %s", p.Action, p.Text)
	}
}

func TestNobodysMAC(t *testing.T) {
	a := newAppliance(t)
	for _, mac := range []boot.MAC{{}, {1, 0, 0x5e, 0, 0, 1}, {255, 255, 255, 255, 255, 255}} {
		t.Run(mac.String(), func(t *testing.T) {
			for _, name := range []string{boot.PlanName(mac, boot.RandomHex(16)), "boot.ipxe/" + mac.Hyphens()} {
				if _, err := a.tree.Open(t.Context(), stranger, name); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v, want not found", name, err)
				}
			}
		})
	}
	if all, err := a.machines.registry.List(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("remembers %v, %v", all, err)
	}
}

// A manifest from the state folder is in memory once, however many clients read
// it.
func TestManifestsAreShared(t *testing.T) {
	a := newAppliance(t)
	name := "lab.raw" + images.ManifestSuffix
	m := &made{manifests: catalog.NewManifests(filepath.Join(a.state.dir, manifestsDir))}
	first, err := m.script(t.Context(), stranger, name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.script(t.Context(), stranger, name)
	if err != nil || &first[0] != &again[0] {
		t.Errorf("read again for a second client, %v", err)
	}
}

// The MAC of a dock stays an alias of each machine that used it. A profile that
// overwrites for that MAC must not match the machine elsewhere.
func TestOverwriteIsForTheMACOfNow(t *testing.T) {
	a := newAppliance(t)
	a.cfg.Profiles[0].Disk.Overwrite = true
	uuid := boot.UUID{1}
	for _, mac := range []boot.MAC{otherMAC, benchMAC} { // at home, and at the dock
		if _, err := a.machines.registry.Identify(t.Context(), boot.Facts{MAC: mac, UUID: &uuid}); err != nil {
			t.Fatal(err)
		}
	}
	if p := planFor(t, a, benchMAC); p.Action != boot.ActionFlash || !p.Disk.Overwrite {
		t.Errorf("at the dock: %s, overwrite %v", p.Action, p.Disk.Overwrite)
	}
	if p := planFor(t, a, otherMAC); p.Disk.Overwrite {
		t.Error("at home it may lose what its disk holds")
	}
}
