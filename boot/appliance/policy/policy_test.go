package policy

import (
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

var (
	desk = boot.MAC{2, 0, 0, 0, 0, 1}
	dock = boot.MAC{2, 0, 0, 0, 0, 2}
)

func flash(match boot.Match, disk boot.Disk) *boot.Profile {
	return &boot.Profile{Name: "flash", Action: boot.ActionFlash, Match: match, Disk: disk, Images: map[string]string{"": "lab", "rpi4": "pi"}}
}

func macs(list ...boot.MAC) (globs boot.Match) {
	for _, m := range list {
		globs.MAC = append(globs.MAC, m.String())
	}
	return globs
}

// Each row is named after the rule that decides.
func TestDecide(t *testing.T) {
	order := func(o boot.Order) *boot.Wanted { return &boot.Wanted{Order: o, Job: "ordered"} }
	wipe := boot.Disk{Overwrite: true}
	all := []*boot.Profile{flash(boot.Match{}, boot.Disk{})}
	for _, tt := range []struct {
		name    string
		policy  Policy
		machine boot.Machine
		mac     boot.MAC
		want    boot.Action
		wipes   bool
	}{
		{"no profiles", Policy{}, boot.Machine{}, desk, boot.ActionWait, false},
		{"none matches", Policy{Profiles: []*boot.Profile{flash(macs(dock), wipe)}, Unknown: boot.ActionIgnore}, boot.Machine{}, desk, boot.ActionIgnore, false},
		{"the first that matches", Policy{Profiles: append([]*boot.Profile{{Name: "l", Action: boot.ActionLocal, Match: macs(desk)}}, all...)}, boot.Machine{}, desk, boot.ActionLocal, false},
		{"a blank machine", Policy{Profiles: all}, boot.Machine{}, desk, boot.ActionFlash, false},
		{"one that was flashed", Policy{Profiles: all}, boot.Machine{Flashed: &boot.Flashed{}}, desk, boot.ActionLocal, false},
		{"one that was flashed, and an order", Policy{Profiles: all}, boot.Machine{Flashed: &boot.Flashed{}, Wanted: order(boot.Order{Action: boot.ActionFlash, Overwrite: true})}, desk, boot.ActionFlash, true},
		{"an order to boot its disk", Policy{Profiles: all}, boot.Machine{Wanted: order(boot.Order{Action: boot.ActionLocal})}, desk, boot.ActionLocal, false},
		{"an order that no profile covers", Policy{Unknown: boot.ActionWait, Profiles: []*boot.Profile{flash(macs(dock), wipe)}}, boot.Machine{Wanted: order(boot.Order{Action: boot.ActionFlash, Overwrite: true})}, desk, boot.ActionWait, false},
		{"an order to flash where the profile waits", Policy{Profiles: []*boot.Profile{{Name: "w", Action: boot.ActionWait}}}, boot.Machine{Wanted: order(boot.Order{Action: boot.ActionFlash, Overwrite: true})}, desk, boot.ActionWait, false},
		{"at the dock, whose MAC may wipe", Policy{Profiles: []*boot.Profile{flash(macs(dock), wipe)}}, boot.Machine{}, dock, boot.ActionFlash, true},
		{"at home, by the dock's MAC", Policy{Profiles: []*boot.Profile{flash(macs(dock), wipe)}}, boot.Machine{}, desk, boot.ActionFlash, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := boot.Facts{MAC: tt.mac, MACs: []boot.MAC{tt.mac}}
			if tt.name == "at home, by the dock's MAC" {
				f.MACs = append(f.MACs, dock) // a MAC of an earlier day
			}
			d := tt.policy.Decide(tt.machine, f)
			if d.Action != tt.want || d.Disk.Overwrite != tt.wipes {
				t.Errorf("%s, overwrite %v; want %s, %v", d.Action, d.Disk.Overwrite, tt.want, tt.wipes)
			}
		})
	}
}

// A job's ID is the same in every boot. It differs by machine, image and
// action. An order is one job, whatever it flashes.
func TestJob(t *testing.T) {
	p := Policy{Profiles: []*boot.Profile{flash(boot.Match{}, boot.Disk{})}}
	job := func(m boot.Machine, digest string) string { return p.Decide(m, boot.Facts{MAC: desk}).Job(digest) }
	first := job(boot.Machine{ID: "a"}, "1")
	if first != job(boot.Machine{ID: "a", Board: "rpi4"}, "1") || len(first) != 16 {
		t.Errorf("job %q is not the same at the next boot", first)
	}
	for name, other := range map[string]string{
		"another machine": job(boot.Machine{ID: "b"}, "1"),
		"another image":   job(boot.Machine{ID: "a"}, "2"),
		"another end":     job(boot.Machine{ID: "a", Flashed: &boot.Flashed{}}, "1"),
	} {
		if other == first {
			t.Errorf("%s has the same job", name)
		}
	}
	wanted := &boot.Wanted{Order: boot.Order{Action: boot.ActionFlash}, Job: "ordered"}
	if got := job(boot.Machine{ID: "a", Wanted: wanted}, "2"); got != "ordered" {
		t.Errorf("an order is job %q", got)
	}
}

func TestFlashImage(t *testing.T) {
	only := &boot.Profile{Name: "pi", Action: boot.ActionFlash, Images: map[string]string{"rpi4": "pi"}}
	for _, tt := range []struct {
		name    string
		profile *boot.Profile
		board   string
		want    string
		ok      bool
	}{
		{"any board", flash(boot.Match{}, boot.Disk{}), "pc-x86_64", "lab", true},
		{"its own board", flash(boot.Match{}, boot.Disk{}), "rpi4", "pi", true},
		{"no image for the board", only, "pc-x86_64", "", false},
		{"no flash", &boot.Profile{Action: boot.ActionWait}, "rpi4", "", false},
		{"no profile", nil, "rpi4", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Decision{Profile: tt.profile, Machine: boot.Machine{Board: tt.board}}
			if got, ok := d.FlashImage(); got != tt.want || ok != tt.ok {
				t.Errorf("%q, %v; want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// root has the names of the firmware files that exist.
type root string

func (r root) Has(b *board.Board, name string) bool {
	return strings.Contains(" "+string(r)+" ", " "+b.File(name)+" ")
}

func TestFirmwareFor(t *testing.T) {
	of := func(name string) *board.Board { b, _ := board.ByName(name); return b }
	for _, tt := range []struct {
		name  string
		root  root
		board *board.Board
		want  string
	}{
		{"its own", "firmware/qemu-x86_64/vmlinuz firmware/pc-x86_64/vmlinuz", of("qemu-x86_64"), "qemu-x86_64"},
		{"a stand-in", "firmware/pc-x86_64/bootlace.efi", of("qemu-x86_64"), "pc-x86_64"},
		{"neither", "", of("qemu-x86_64"), "qemu-x86_64"},
		{"unknown, a PC", "firmware/pc-x86_64/vmlinuz firmware/qemu-x86_64/vmlinuz", nil, "pc-x86_64"},
		{"unknown, what is there", "firmware/qemu-x86_64/vmlinuz", nil, "qemu-x86_64"},
		{"unknown, nothing there", "", nil, "pc-x86_64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := FirmwareFor(tt.root, tt.board); got.Name != tt.want {
				t.Errorf("%s, want %s", got.Name, tt.want)
			}
		})
	}
}

// Each loader gets the first of its files that exists, by name or by URL.
// Without any file it gets none.
func TestBootfileOfEachLoader(t *testing.T) {
	b, _ := board.ByName("pc-x86_64")
	d := Decision{Board: b}
	for _, l := range board.Loaders {
		t.Run(l.Name, func(t *testing.T) {
			made := len(l.Files) > 0 && (l.Files[0] == board.Script || l.Files[0] == board.BootScript)
			if got := d.Bootfile(root(""), l, desk, "http://h/"); (got != "") != made {
				t.Errorf("without any file: %q", got)
			}
			if len(l.Files) == 0 || made {
				return
			}
			want := b.File(l.Files[0])
			there := root(want)
			if l.HTTP {
				if got := d.Bootfile(there, l, desk, ""); got != "" {
					t.Errorf("HTTP is off: %q", got)
				}
				want = "http://h/" + want
			}
			if got := d.Bootfile(there, l, desk, "http://h/"); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
