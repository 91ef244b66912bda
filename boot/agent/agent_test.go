package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/images"
)

func TestFlash(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	p := l.plan(boot.ActionFlash)
	raw := l.image(p, 5<<20)
	l.putPlan(p)

	a := l.agent(child{})
	a.says("bootlace: done: lab.raw.zst is on vda")
	a.end()
	lines := strings.Split(a.console.String(), "\n")
	if want := "bootlace agent 1.2.3-test testboard"; lines[0] != want {
		t.Errorf("first line is %q, want %q", lines[0], want)
	}
	disk, err := os.ReadFile(l.disk)
	if err != nil || !bytes.Equal(disk[:len(raw)], raw) {
		t.Errorf("the disk does not hold the image (%v)", err)
	}
	done := l.event(boot.KindDone, "written and read back")
	if done.Digest != p.Image.ManifestSHA256 || done.Disk != diskSerial || done.Image != p.Image.Name {
		t.Errorf("done: %+v", done)
	}
	l.event(boot.KindHandover, "reboot")
	var kinds []boot.Kind
	last := ""
	for _, ev := range l.events() {
		if n := len(kinds); n == 0 || kinds[n-1] != ev.Kind {
			kinds = append(kinds, ev.Kind)
		}
		if ev.Session == last || ev.Session == "" || ev.Uptime <= 0 || ev.Boot != l.boot {
			t.Errorf("event %+v after session %q", ev, last)
		}
		last = ev.Session
	}
	kinds = slices.DeleteFunc(kinds, func(k boot.Kind) bool { return k == boot.KindWrite })
	kinds = slices.Compact(kinds)
	if want := []boot.Kind{boot.KindStart, boot.KindPull, boot.KindVerify, boot.KindDone, boot.KindHandover}; !slices.Equal(kinds, want) {
		t.Errorf("events %q, want %q", kinds, want)
	}
	for _, post := range l.all() {
		if post.token != "Bearer "+testToken || post.Boot != l.boot || post.Job != p.Job || post.path != "/api/machines/"+l.mac.String()+"/events" {
			t.Errorf("posted %+v", post)
		}
	}

	t.Log("again: the disk holds it already")
	again := l.agent(child{})
	again.says("bootlace: done: lab.raw.zst was on vda", "already")
	again.end()
}

// A cable that comes late, into a switch port that swallows everything while
// spanning tree listens and learns: 2 s each, the least that it can be set to.
func TestPatience(t *testing.T) {
	l := newLab(t)
	run(t, l.srv, "ip", "link", "set", "eth0", "down")
	p := l.plan(boot.ActionFlash)
	l.image(p, 2<<20)
	l.putPlan(p)
	a := l.agent(child{Say: 500 * time.Millisecond})
	a.says("bootlace: waiting for a cable in eth0")

	run(t, l.srv, "ip", "addr", "flush", "dev", "eth0")
	run(t, l.srv, "ip", "link", "add", "br0", "type", "bridge", "stp_state", "1", "forward_delay", "200")
	run(t, l.srv, "ip", "link", "set", "eth0", "master", "br0")
	run(t, l.srv, "ip", "addr", "add", l.addr.String()+"/24", "dev", "br0")
	run(t, l.srv, "ip", "link", "set", "br0", "up")
	l.iface = "br0"
	plugged := time.Now()
	run(t, l.srv, "ip", "link", "set", "eth0", "up")
	a.says("bootlace: waiting for a DHCP answer on eth0")
	l.dnsmasq(byBootlace)
	a.says("bootlace: eth0 has")
	if took := time.Since(plugged); took < 4*time.Second {
		t.Errorf("lease after %v: the switch port did not swallow anything", took)
	}
	a.says("bootlace: done:")
	a.end()
}

// A spoiltFlash is one that fails, and what its report says.
type spoiltFlash struct {
	name   string
	plan   *boot.Plan
	spoil  func()
	expect []string
}

// spoilt are the ways in which the flash of a plan fails. stored is its image.
func spoilt(t *testing.T, l *lab, p *boot.Plan, stored []byte) []spoiltFlash {
	otherDigest, otherDisk := *p, *p
	img := *p.Image
	img.ManifestSHA256 = strings.Repeat("0", 64)
	otherDigest.Image = &img
	otherDisk.Disk.Serial = "OTHER"
	return []spoiltFlash{
		{"truncated", p, func() { l.put("lab.raw.zst", stored[:len(stored)/2]) }, []string{"lab.raw.zst"}},
		{"flipped bit", p, func() {
			bad := bytes.Clone(stored)
			bad[len(bad)/2] ^= 1
			l.put("lab.raw.zst", bad)
		}, []string{"lab.raw.zst"}},
		{"missing", p, func() { os.Remove(l.root + "/lab.raw.zst") }, []string{"lab.raw.zst"}},
		{"manifest of another digest", &otherDigest, func() {}, []string{"manifest"}},
		{"too small a disk", p, func() { l.blank(1 << 20) }, []string{"vda: 1 MiB is smaller than the image's 4 MiB"}},
		{"disk in use", p, func() {
			l.blank(8 << 20)
			f, err := os.OpenFile(l.disk, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteAt([]byte("\x55\xaa"), 510)
			f.Close()
		}, []string{"vda", "overwriting it was not asked for"}},
		{"another disk", &otherDisk, func() {}, []string{`serial is "LAB-1", not "OTHER"`}},
	}
}

func TestFlashSaysWhyNot(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	good := l.plan(boot.ActionFlash)
	raw := l.image(good, 4<<20)
	stored, err := os.ReadFile(l.root + "/lab.raw.zst")
	if err != nil {
		t.Fatal(err)
	}
	p := *good
	p.Then = boot.Wait

	// rest gives the agent nothing to do. Then nobody reads what is spoilt next.
	rests := 0
	rest := func() {
		q := l.plan(boot.ActionWait)
		q.Job = fmt.Sprint("rest", rests)
		rests++
		l.putPlan(q)
		l.event(boot.KindWaiting)
		l.put("lab.raw.zst", stored)
		l.blank(8 << 20)
		l.forget()
	}
	a := (*agentProcess)(nil)
	for _, s := range spoilt(t, l, &p, stored) {
		if a == nil {
			a = l.agent(child{})
		}
		rest()
		l.step(s.name, func(t *testing.T) {
			s.spoil()
			l.putPlan(s.plan)
			ev := l.event(boot.KindFailed, s.expect...)
			t.Log(ev.Text)
			a.says("bootlace: failed: " + ev.Text)
			if l.has(boot.KindDone) {
				t.Error("reported done")
			}
		})
	}
	rest()
	l.putPlan(&p)
	l.event(boot.KindDone)
	a.says("bootlace: done: lab.raw.zst is on vda")
	if disk, err := os.ReadFile(l.disk); err != nil || !bytes.Equal(disk[:len(raw)], raw) {
		t.Errorf("the disk does not hold the image (%v)", err)
	}
	// then: wait, so it stays and does nothing although the plan is still there.
	l.forget()
	l.polls(3)
	if evs := l.events(); len(evs) > 0 && evs[len(evs)-1].Kind != boot.KindWrite {
		t.Errorf("after then: wait: %+v", evs)
	}
	// Until a person asks for another job.
	good.Job = "job2"
	l.putPlan(good)
	a.end()
	l.event(boot.KindDone, "already")
}

// forget drops the reports so far.
func (l *lab) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = nil
}

func TestPlansThatAreRefused(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	good := l.plan(boot.ActionFlash)
	l.image(good, 2<<20)

	otherBoot := *good
	otherBoot.Boot, otherBoot.Token = boot.RandomHex(16), "for the other boot"
	l.putPlan(&otherBoot)
	a := l.agent(child{})
	ev := l.event(boot.KindFailed, "plan refused", "another machine or boot")
	a.says("no plan yet", "another machine or boot")
	if p := l.all()[0]; p.Boot != otherBoot.Boot || p.token != "Bearer for the other boot" || ev.Boot != otherBoot.Boot {
		t.Errorf("refusal was posted as %+v: the token is good for that plan's boot alone", p)
	}

	wrongVersion := *good
	wrongVersion.V = 2
	l.putPlan(&wrongVersion)
	l.event(boot.KindFailed, "v 2", "version")

	raw, _ := json.Marshal(good)
	l.put(boot.PlanName(l.mac, l.boot), bytes.Replace(raw, []byte(`"flash"`), []byte(`"dance"`), 1))
	l.event(boot.KindFailed, `"dance"`, "does not know")

	l.put(boot.PlanName(l.mac, l.boot), []byte("garbage"))
	a.says("no plan yet: read plan: invalid character")
	if l.has(boot.KindDone) || l.has(boot.KindWrite) {
		t.Error("something was done")
	}

	l.putPlan(good)
	a.end()
	l.event(boot.KindFailed, "invalid character") // it had to wait for a plan that says where to
	l.event(boot.KindDone)
}

func TestPanicIsReportedAndSurvived(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	l.putPlan(l.plan(boot.ActionServe))
	a := l.agent(child{})
	l.event(boot.KindFailed, "panic: at the disco")
	a.says("bootlace: failed: panic: at the disco", "agent.TestMain") // and where
	good := l.plan(boot.ActionFlash)
	l.image(good, 1<<20)
	l.putPlan(good)
	a.end()
	l.event(boot.KindDone)
}

func TestOnFailure(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	p := l.plan(boot.ActionFlash)
	l.image(p, 16<<20) // larger than the disk
	p.OnFailure = boot.Wait
	l.putPlan(p)
	a := l.agent(child{})
	l.event(boot.KindFailed, "smaller than the image's")
	a.says("waiting for another job")
	l.forget()
	l.polls(3)
	if evs := l.events(); len(evs) > 0 {
		t.Errorf("it did not wait: %+v", evs)
	}
	p.OnFailure, p.Job = boot.Reboot, "job2"
	l.putPlan(p)
	l.event(boot.KindFailed, "smaller than the image's")
	a.says("bootlace: rebooting in")
	a.end()
}

func TestWaitAndLocal(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	p := l.plan(boot.ActionWait)
	l.putPlan(p)
	a := l.agent(child{})
	ev := l.event(boot.KindWaiting, "testboard", l.mac.String(), "vda (8 MiB, serial LAB-1)", "memory")
	a.says("bootlace: waiting: " + ev.Text)
	l.polls(3)
	n := 0
	for _, ev := range l.events() {
		if ev.Kind == boot.KindWaiting {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events say that it waits, want one", n)
	}
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		t.Log("this machine was started by UEFI: local is not tried, it would set BootNext")
		return
	}
	p.Action, p.Job, p.Flashed = boot.ActionLocal, "job2", &boot.Flashed{Disk: diskSerial}
	l.putPlan(p)
	l.event(boot.KindLocal, "cannot boot from its disk", "not started by UEFI")
	a.says("bootlace: failed: cannot boot from its disk", "would reboot")
	a.end()
}

func TestBootSaysWhyNot(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	kernel := []byte(strings.Repeat("no kernel ", 10000))
	l.put("vmlinuz", kernel)
	p := l.plan(boot.ActionBoot)
	p.Kernel = &boot.File{Name: "vmlinuz", Size: int64(len(kernel)), SHA256: images.Digest(kernel)}
	p.Initrd = &boot.File{Name: "initrd", Size: 1 << 50, SHA256: images.Digest(nil)}
	l.putPlan(p)
	a := l.agent(child{})
	l.event(boot.KindFailed, "kernel and initrd of 1.0 PiB need 3.0 PiB")
	p.Initrd = nil
	l.putPlan(p)
	l.event(boot.KindPull, "http carried vmlinuz")
	l.event(boot.KindFailed, "load kernel")
	if l.has(boot.KindDone) || l.has(boot.KindHandover) {
		t.Error("reported done")
	}
	a.says("bootlace: failed: load kernel")
}

func TestStaticAddress(t *testing.T) {
	l := newLab(t)
	l.dnsmasq() // TFTP; its DHCP is not asked
	l.putPlan(l.plan(boot.ActionWait))
	addr := netip.PrefixFrom(l.addr.Next().Next(), 24)
	a := l.agent(child{Addr: addr, Server: l.addr})
	a.says("bootlace: eth0 has " + addr.String())
	l.event(boot.KindWaiting)
}

// The appliance goes away and another one takes its place, elsewhere.
func TestApplianceIsLookedForAnew(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	l.putPlan(l.plan(boot.ActionWait))
	a := l.agent(child{Post: time.Second, Lost: time.Second})
	l.event(boot.KindWaiting)
	run(t, l.srv, "tc", "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "0") // nothing gets out
	a.says("does not answer any more", "waiting for a DHCP answer")
	run(t, l.srv, "tc", "qdisc", "del", "dev", "eth0", "root")
	p := l.plan(boot.ActionWait)
	p.Job = "job2"
	l.forget()
	l.putPlan(p)
	l.event(boot.KindWaiting)
}

// Reports that cannot be sent wait; done is said only once it was heard.
func TestDoneWaitsForTheAppliance(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	l.answer(503)
	p := l.plan(boot.ActionFlash)
	l.image(p, 2<<20)
	l.putPlan(p)
	a := l.agent(child{})
	a.says("bootlace: waiting for " + l.addr.String() + " to acknowledge")
	if strings.Contains(a.console.String(), "bootlace: done") || len(l.events()) > 0 {
		t.Error("done was said before anybody heard of it")
	}
	l.answer(204)
	l.event(boot.KindDone)
	a.says("bootlace: done:")
	a.end()
	if evs := l.events(); evs[0].Kind != boot.KindStart {
		t.Errorf("first event is %+v, want start", evs[0])
	}
}

// An appliance that is gone while done waits to be heard may come back at
// another address: it is looked for, and the disk is found as it should be.
func TestDoneLooksForTheApplianceAnew(t *testing.T) {
	l := newLab(t)
	l.dnsmasq(byBootlace)
	l.answer(503)
	p := l.plan(boot.ActionFlash)
	p.OnFailure = boot.Wait // nothing has failed
	l.image(p, 2<<20)
	l.putPlan(p)
	a := l.agent(child{Post: 2 * time.Second, Lost: 2 * time.Second})
	a.says("bootlace: waiting for " + l.addr.String() + " to acknowledge")
	run(t, l.srv, "tc", "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "0") // nothing gets out
	a.says("does not answer any more", "waiting for a DHCP answer")
	l.answer(204)
	run(t, l.srv, "tc", "qdisc", "del", "dev", "eth0", "root")
	l.event(boot.KindDone)
	a.says("bootlace: done:", "nothing was written")
	a.end()
	if l.has(boot.KindFailed) {
		t.Error("failure was reported")
	}
}
