package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

// The appliance comes back in mid-transfer and remembers nothing. The token is
// good for nothing any more. The machine is told a new job, and finds the disk as
// it should be. The new appliance hears of done.
func TestApplianceForgets(t *testing.T) {
	r := midFlash(t, "", "ftp")
	r.serve.kill()
	if err := os.RemoveAll(r.state); err != nil {
		t.Fatal(err)
	}
	r.fast()
	r.start()
	r.device.wait("failed: .*refuses the report")
	r.device.wait("bootlace: done: .*nothing was written")
	r.holds(r.target, r.raw)
	r.told(boot.KindDone, "nothing was written")
}

// The image is overwritten in mid-transfer, in place, and so is its manifest.
// Nothing of the mixture is called done. Then the new image is flashed.
func TestImageOverwritten(t *testing.T) {
	r := midFlash(t, "", "ftp")
	r.slow(1) // while the other image is made
	r.raw = bytes.Clone(r.raw)
	for i := range r.raw {
		r.raw[i] ^= 0x5a
	}
	r.addImage("lab.raw.zst", r.raw)
	r.fast()
	r.device.wait("bootlace: failed")
	r.unbootable(r.target)
	r.notDone(r.device)
	r.device.wait("bootlace: done")
	r.holds(r.target, r.raw)
	r.told(boot.KindFailed, `lab\.raw\.zst`)
}
