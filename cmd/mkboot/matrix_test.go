//go:build qemu

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// A job is what a config may have for a machine, which it knows by the end of
// the address of its card.
type job string

const (
	nothing job = "00" // no profile: it waits
	small   job = "f1" // it is flashed, and waits
	system  job = "f2" // it is flashed with a system that boots, and boots that
	live    job = "f3" // it is handed a kernel
)

// jobsConfig has a profile for each job. An unknown machine may wait since
// U-Boot asks by an address of its own.
const jobsConfig = lanConfig + `unknown: wait
images: {small: {file: ` + smallImage + `}, lab: {file: ` + demoImage + `}}
profiles:
  - {name: small, match: {mac: ["*:*:*:*:*:f1"]}, action: flash, image: small, on_failure: wait, then: wait}
  - {name: system, match: {mac: ["*:*:*:*:*:f2"]}, action: flash, image: lab, on_failure: wait, then: reboot}
  - {name: live, match: {mac: ["*:*:*:*:*:f3"]}, action: boot,
     kernel: ` + liveKernel + `, initrd: ` + liveInitrd + `, cmdline: console=ttyS0 live=yes}
`

func (j job) String() string {
	return map[job]string{nothing: "waits", small: "flashed", system: "flashed, booted from disk twice", live: "booted by kexec"}[j]
}

// A way is one in which a machine gets to our firmware.
type way struct {
	board    *board.Board
	firmware lab.Firmware
	by       string // "", or how it differs from what the firmware would do
	job      job
}

func (w way) String() string {
	return strings.Trim(fmt.Sprintf("%s-%s-%s", w.board.Name, w.firmware, w.by), "-")
}

// ways are all of them: every board of the table by every firmware it has in
// QEMU, and the turns that these can take. A board is flashed once; one of them
// also boots what is made for it alone.
func ways() []way {
	var all []way
	http := map[string]bool{} // by architecture
	for _, b := range board.Boards {
		for i, f := range lab.Firmwares(b) {
			if f == lab.HTTP && http[b.Arch] {
				continue // the same firmware, the same file by another name
			}
			http[b.Arch] = http[b.Arch] || f == lab.HTTP
			boots := b.Name == systemBoard
			w := way{board: b, firmware: f, job: nothing}
			switch {
			case i == 0:
				w.job = small
			case boots && f == lab.UEFI:
				w.job = system
			}
			all = append(all, w)
			switch {
			case boots && f == lab.BIOS:
				// UNDI is slow in an emulated machine: once is enough.
				all = append(all, way{board: b, firmware: f, by: board.UNDI, job: live})
			case f == lab.UBoot:
				all = append(all, way{board: b, firmware: f, by: board.UKI, job: nothing})
			}
		}
	}
	return all
}

// Every board boots our firmware by every way in, with no word about any of
// them in the config, and finds its network card and its disk. Where the config
// has nothing for it, not even a profile, it says what it is and waits.
func TestQEMUMatrix(t *testing.T) {
	plain, jobs := newLAN(t, lanConfig), newLAN(t, jobsConfig)
	plain.serving(t)
	jobs.serving(t)
	checkSizes(t)
	var table bytes.Buffer
	for i, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			if err := lab.Missing(w.board, w.firmware); err != nil {
				nettest.Skip(t, err.Error())
			}
			l := plain
			if w.job != nothing {
				l = jobs
			}
			switch w.by {
			case board.UNDI:
				l.plainROM()
				defer l.frame.Store(nil)
			case board.UKI: // without a kernel there is no script, and U-Boot goes on to EFI
				kernel := filepath.Join(made.root, w.board.File(board.Kernel))
				if err := os.Rename(kernel, kernel+".away"); err != nil {
					t.Fatal(err)
				}
				defer os.Rename(kernel+".away", kernel)
			}
			l.boots(t, w, byte(i), &table)
		})
	}
	t.Logf("%-30s %6s %6s  %-32s %s\n%s", "way in", "agent", "end", "and there", "files", table.String())
}

// initramfsLimits are the most bytes of an initramfs of QEMU's own boards, by
// architecture. They grow only with a feature that was decided to be worth it.
var initramfsLimits = map[string]int64{"amd64": 2_940_000, "arm64": 2_680_000, "arm": 2_690_000}

// checkSizes holds the initramfs of QEMU's own boards to its limit.
func checkSizes(t *testing.T) {
	for _, b := range board.Boards {
		if !strings.HasPrefix(b.Name, "qemu-") {
			continue
		}
		fi, err := os.Stat(filepath.Join(made.root, b.File(board.Initramfs)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: initramfs of %d bytes, at most %d", b.Name, fi.Size(), initramfsLimits[b.Arch])
		if fi.Size() > initramfsLimits[b.Arch] {
			t.Errorf("%s: the initramfs is too large", b.Name)
		}
	}
}

// boots turns a machine on and holds what it does against the way.
func (l *lan) boots(t *testing.T, w way, i byte, table io.Writer) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	size, cpus := int64(64<<20), 0
	if w.job == system {
		size, cpus = 512<<20, flashCPUs
	}
	if err := lab.BlankDisk(disk, size); err != nil {
		t.Fatal(err)
	}
	mac := fmt.Sprintf("52:54:00:b0:%02x:%s", i, string(w.job))
	if !strings.HasPrefix(w.board.Name, "qemu-") {
		mac = fmt.Sprintf("00:1b:21:b0:%02x:%s", i, string(w.job)) // a card that QEMU would not be known by
	}
	_, before := l.since(0)
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: w.String(), Board: w.board, Firmware: w.firmware, Vars: filepath.Join(dir, "vars.fd"), CPUs: cpus,
		NICs:  []lab.NIC{{End: l.end, MAC: mac, BootIndex: 1}},
		Disks: []lab.Disk{{Path: disk, Serial: machineSerial, BootIndex: 2}},
	})
	started(t, vm, err)
	agent := wait(t, vm, `^bootlace agent \S+ `+regexp.QuoteMeta(w.board.Name)+`$`)
	end := l.sees(t, w, vm, before)
	vm.Kill()
	for _, line := range vm.Lines() {
		if strings.Contains(line.Text, "Unknown symbol") {
			t.Errorf("a module was loaded whose bus is not there: %s", line.Text)
		}
	}

	events, _ := l.since(before)
	var files []string
	for _, ev := range events {
		if ev.Kind == boot.KindServe {
			files = append(files, asked(ev))
		}
		if ev.Kind == boot.KindStart {
			break
		}
	}
	fmt.Fprintf(table, "%-30s %6.1f %6.1f  %-32s %s\n", w, agent.At.Seconds(), end.At.Seconds(), w.job, strings.Join(files, ", "))
	if all := strings.Join(files, " "); w.by != "" && !strings.Contains(all, w.by) {
		t.Errorf("it did not take %s: %s", w.by, all)
	}
	holds := map[job][]byte{nothing: {}, small: made.small, live: {}}
	if want, ok := holds[w.job]; ok {
		got, err := os.ReadFile(disk)
		if err != nil || !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight(want, "\x00")) {
			t.Errorf("the disk does not hold the %d bytes that it should (%v)", len(want), err)
		}
	}
}

// asked is what a machine asked for, with the options that it was granted.
func asked(ev boot.Event) string {
	file := ev.Proto + " " + strings.TrimPrefix(ev.File, "firmware/")
	_, took, _ := strings.Cut(ev.Text, " bytes in ")
	if _, options, ok := strings.Cut(took, ", "); ok {
		return file + " (" + options + ")"
	}
	switch {
	case strings.Contains(ev.Text, "told the size"):
		file += " (its size)"
	case ev.Bytes == 0:
		file += " (missing)"
	}
	return file
}

// sees waits for the end of a machine's job and returns the line that says so.
func (l *lan) sees(t *testing.T, w way, vm *lab.VM, before int) (end lab.Line) {
	switch w.job {
	case nothing:
		end = wait(t, vm, `bootlace: waiting: .*`+machineSerial)
		l.heard(t, before, boot.KindWaiting)
	case small:
		end = wait(t, vm, `bootlace: done: `)
		l.heard(t, before, boot.KindDone)
	case live:
		end = wait(t, vm, `live system: up, command line .*live=yes`)
		l.heard(t, before, boot.KindHandover)
	case system:
		// After the flash BootNext leads to the disk.
		wait(t, vm, `bootlace: done: .*BootNext`)
		wait(t, vm, `flashed system: up from /dev/vda`)
		l.heard(t, before, boot.KindDone)
		l.heard(t, before, boot.KindHandover)
		// At the next power-on the network comes first again: our firmware is
		// told local and sends the machine to its disk by BootNext.
		_, before := l.since(0)
		if err := vm.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, vm, `plan: local`)
		end = wait(t, vm, `flashed system: up from /dev/vda`)
		l.heard(t, before, boot.KindLocal)
	}
	return end
}
