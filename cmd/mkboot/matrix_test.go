//go:build qemu

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// A job is what the config has for a machine, by the last byte of its MAC.
type job string

const (
	nothing job = "00" // no profile, so it waits
	small   job = "f1" // it is flashed and waits
	system  job = "f2" // it is flashed with a system, which it then boots
	live    job = "f3" // it boots a kernel by kexec
)

// jobsConfig has a profile for each job. Unknown machines may wait, because
// U-Boot first asks with a MAC of its own.
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

// A way is one path by which a machine gets to our firmware.
type way struct {
	board    *board.Board
	firmware lab.Firmware
	by       string // board.UNDI or board.UKI to force that file, "" for the usual one
	job      job
}

func (w way) String() string {
	return strings.Trim(fmt.Sprintf("%s-%s-%s", w.board.Name, w.firmware, w.by), "-")
}

// ways are every board of the table with every firmware that it has in QEMU, and
// their variants. Each board is flashed once. One of them is also flashed with a
// system, which boots only there.
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
				// Once is enough, since UNDI is slow in an emulated machine.
				all = append(all, way{board: b, firmware: f, by: board.UNDI, job: live})
			case f == lab.UBoot:
				all = append(all, way{board: b, firmware: f, by: board.UKI, job: nothing})
			}
		}
	}
	return all
}

// Every board boots our firmware by every way in. The config has no word about
// any of them. Each machine finds its network card and its disk. Where the config
// has nothing for it, not even a profile, it says what it is and waits.
func TestQEMUMatrix(t *testing.T) {
	plain, jobs := newLAN(t, lanConfig), newLAN(t, jobsConfig)
	noKernel := newLANOf(t, withoutKernels(t), lanConfig)
	for _, l := range []*lan{plain, jobs, noKernel} {
		l.serving(t)
	}
	checkSizes(t)
	var rows table
	run := func(t *testing.T, i int, w way, l *lan) {
		t.Run(w.String(), func(t *testing.T) {
			if err := lab.Missing(w.board, w.firmware); err != nil {
				nettest.Skip(t, err.Error())
			}
			if w.by == board.UNDI {
				l.plainROM()
				defer l.frame.Store(nil)
			}
			l.bootMachine(t, w, byte(i), &rows)
		})
	}
	// Two machines at a time, for two processors. Each LAN has one cable.
	t.Run("ways", func(t *testing.T) {
		t.Run("without a job", func(t *testing.T) {
			t.Parallel()
			for i, w := range ways() {
				switch {
				case w.by == board.UKI: // without a kernel there is no script, so U-Boot goes on to EFI
					run(t, i, w, noKernel)
				case w.job == nothing:
					run(t, i, w, plain)
				}
			}
		})
		t.Run("with a job", func(t *testing.T) {
			t.Parallel()
			for i, w := range ways() {
				if w.job != nothing {
					run(t, i, w, jobs)
				}
			}
		})
	})
	t.Logf("%-30s %6s %6s  %-32s %s\n%s", "way in", "agent", "end", "and there", "files", strings.Join(rows.lines, ""))
}

// withoutKernels makes a root that has the EFI programs of the boards alone.
func withoutKernels(t *testing.T) string {
	t.Helper()
	root := filepath.Join(made.dir, "uki")
	for _, b := range board.Boards {
		if b.QEMU == nil || b.QEMU.UBoot == "" {
			continue
		}
		name := b.File(board.UKI)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(made.root, name), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A table is written by several machines.
type table struct {
	mu    sync.Mutex
	lines []string
}

func (rows *table) add(format string, args ...any) {
	rows.mu.Lock()
	defer rows.mu.Unlock()
	rows.lines = append(rows.lines, fmt.Sprintf(format, args...))
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

// bootMachine turns a machine on and checks that it takes the way and does its job.
func (l *lan) bootMachine(t *testing.T, w way, i byte, rows *table) {
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
		mac = fmt.Sprintf("00:1b:21:b0:%02x:%s", i, string(w.job)) // without QEMU's OUI
	}
	_, before := l.since(0)
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: w.String(), Board: w.board, Firmware: w.firmware, Vars: filepath.Join(dir, "vars.fd"), CPUs: cpus,
		NICs:  []lab.NIC{{End: l.end, MAC: mac, BootIndex: 1}},
		Disks: []lab.Disk{{Path: disk, Serial: machineSerial, BootIndex: 2}},
	})
	mustStart(t, vm, err)
	agent := wait(t, vm, `^bootlace agent \S+ `+regexp.QuoteMeta(w.board.Name)+`$`)
	end := l.waitForJob(t, w, vm, before)
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
			files = append(files, fileAsked(ev))
		}
		if ev.Kind == boot.KindStart {
			break
		}
	}
	rows.add("%-30s %6.1f %6.1f  %-32s %s\n", w, agent.At.Seconds(), end.At.Seconds(), w.job, strings.Join(files, ", "))
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

// fileAsked is the file that a machine asked for, and the options that it got.
func fileAsked(ev boot.Event) string {
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

// waitForJob waits for the end of a machine's job and returns the line that says so.
func (l *lan) waitForJob(t *testing.T, w way, vm *lab.VM, before int) (end lab.Line) {
	switch w.job {
	case nothing:
		end = wait(t, vm, `bootlace: waiting: .*`+machineSerial)
		l.waitEvent(t, before, boot.KindWaiting)
	case small:
		end = wait(t, vm, `bootlace: done: `)
		l.waitEvent(t, before, boot.KindDone)
	case live:
		end = wait(t, vm, `live system: up, command line .*live=yes`)
		l.waitEvent(t, before, boot.KindHandover)
	case system:
		// After the flash BootNext leads to the disk.
		wait(t, vm, `bootlace: done: .*BootNext`)
		wait(t, vm, `flashed system: up from /dev/vda`)
		l.waitEvent(t, before, boot.KindDone)
		l.waitEvent(t, before, boot.KindHandover)
		// At the next power-on the network comes first again. Our firmware is
		// told local and sends the machine to its disk by BootNext.
		_, before := l.since(0)
		if err := vm.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, vm, `plan: local`)
		end = wait(t, vm, `flashed system: up from /dev/vda`)
		l.waitEvent(t, before, boot.KindLocal)
	}
	return end
}
