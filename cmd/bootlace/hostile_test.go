package main

import (
	"os"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// The appliance comes back in mid-transfer and remembers nothing: the token is
// good for nothing any more. The machine is told a new job, finds the disk as
// it should be, and done is what the new appliance hears.
func TestApplianceForgets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw := r.image("lab.raw.zst", 48)
	r.config(flashProfile)
	r.start()
	r.slow(80)
	disk := r.disk(64)
	m := r.machine(disk)
	m.wait(`ftp +\[#`, 30*time.Second)
	r.serve.kill()
	if err := os.RemoveAll(r.state); err != nil {
		t.Fatal(err)
	}
	r.start()
	m.wait("failed: .*refuses the report", time.Minute)
	m.wait("bootlace: done: .*nothing was written", time.Minute)
	r.holds(disk, raw)
	r.told(boot.KindDone, "nothing was written")
}

// The image is overwritten in mid-transfer, in place, and so is its manifest.
// Nothing of the mixture is called done; then the new image is flashed.
func TestImageOverwritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw := r.image("lab.raw.zst", 48)
	r.config(flashProfile)
	r.start()
	r.slow(80)
	disk := r.disk(64)
	m := r.machine(disk)
	m.wait(`ftp +\[##`, 30*time.Second)
	for i := range raw {
		raw[i] ^= 0x5a
	}
	r.store("lab.raw.zst", raw)
	m.wait("bootlace: failed", time.Minute)
	r.unbootable(disk)
	r.notDone(m)
	m.wait("bootlace: done", time.Minute)
	r.holds(disk, raw)
	r.told(boot.KindFailed, `lab\.raw\.zst`)
}
