//go:build qemu

package main

import (
	"bytes"
	"crypto/rand"
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

const matrixConfig = `log: json
dhcp:
  mode: full
  subnets: [{net: 10.77.0.0/24, pool: 10.77.0.100-10.77.0.199, lease: 1h}]
images: {small: {file: small.raw}}
profiles:
  - name: flash
    match: {mac: ["*:*:*:*:*:f1"]}
    action: flash
    image: small
    on_failure: wait
    then: wait
  - name: rest
    action: wait
`

// A way is one in which a machine gets to our firmware.
type way struct {
	board    *board.Board
	firmware lab.Firmware
	by       string // "", or how it differs from what the firmware would do
	flash    bool
}

func (w way) String() string {
	return strings.Trim(fmt.Sprintf("%s-%s-%s", w.board.Name, w.firmware, w.by), "-")
}

// ways are all of them: every board of the table by every firmware it has in
// QEMU, and the turns that these can take. A board is flashed once.
func ways() []way {
	var all []way
	undi, http := false, map[string]bool{} // by architecture
	for _, b := range board.Boards {
		for i, f := range lab.Firmwares(b) {
			if f == lab.HTTP && http[b.Arch] {
				continue // the same firmware, the same file by another name
			}
			http[b.Arch] = http[b.Arch] || f == lab.HTTP
			all = append(all, way{board: b, firmware: f, flash: i == 0})
			switch f {
			case lab.BIOS:
				// UNDI is slow in an emulated machine: once is enough.
				if !undi && len(b.Extras) > 0 {
					undi = true
					all = append(all, way{board: b, firmware: f, by: board.UNDI})
				}
			case lab.UBoot:
				all = append(all, way{board: b, firmware: f, by: board.UKI})
			}
		}
	}
	return all
}

// Every board boots our firmware by every way in, with no word about any of
// them in the config, finds its network card and its disk, and is flashed.
func TestQEMUMatrix(t *testing.T) {
	root := everyBoard(t)
	image := make([]byte, 16<<20)
	rand.Read(image[:4<<20])
	if err := os.WriteFile(filepath.Join(root, "small.raw"), image, 0o644); err != nil {
		t.Fatal(err)
	}
	l := newLAN(t, root, matrixConfig)
	var table bytes.Buffer
	for i, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			if err := lab.Missing(w.board, w.firmware); err != nil {
				nettest.Skip(t, err.Error())
			}
			switch w.by {
			case board.UNDI:
				l.plainROM()
				defer l.frame.Store(nil)
			case board.UKI: // without a kernel there is no script, and U-Boot goes on to EFI
				kernel := filepath.Join(root, w.board.File(board.Kernel))
				if err := os.Rename(kernel, kernel+".away"); err != nil {
					t.Fatal(err)
				}
				defer os.Rename(kernel+".away", kernel)
			}
			l.boots(t, w, byte(i), image, &table)
		})
	}
	t.Logf("%-28s %6s %6s  %s\n%s", "way in", "agent", "end", "files", table.String())
}

// everyBoard makes firmware of every board that QEMU has. That of QEMU's own
// boards has a size to keep to; the others' is compressed less.
func everyBoard(t *testing.T) string {
	t.Helper()
	nettest.NeedRoot(t)
	root := filepath.Join(t.TempDir(), "root")
	most := map[string]int64{"amd64": 3_200_000, "arm64": 2_800_000, "arm": 2_800_000}
	var own, other []string
	for _, b := range board.Boards {
		switch {
		case strings.HasPrefix(b.Name, "qemu-"):
			own = append(own, b.Name)
		case b.QEMU != nil:
			other = append(other, b.Name)
		}
	}
	for _, args := range [][]string{own, append(other, "--fast")} {
		if err := build(t.Context(), append(args, "-o", root)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range own {
		b, _ := board.ByName(name)
		fi, err := os.Stat(filepath.Join(root, b.File(board.Initramfs)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: initramfs of %d bytes", name, fi.Size())
		if fi.Size() > most[b.Arch] {
			t.Errorf("%s: it may have %d", name, most[b.Arch])
		}
	}
	return root
}

// boots turns a machine on and holds what it does against the way.
func (l *lan) boots(t *testing.T, w way, i byte, image []byte, table io.Writer) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	if err := lab.BlankDisk(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	mac := fmt.Sprintf("52:54:00:b0:%02x:00", i)
	if !strings.HasPrefix(w.board.Name, "qemu-") {
		mac = fmt.Sprintf("00:1b:21:b0:%02x:00", i) // a card that QEMU would not be known by
	}
	if w.flash {
		mac = strings.TrimSuffix(mac, "00") + "f1"
	}
	_, before := l.since(0)
	vm, err := lab.Start(t.Context(), lab.Machine{
		Name: w.String(), Board: w.board, Firmware: w.firmware,
		NICs:  []lab.NIC{{End: l.end, MAC: mac, BootIndex: 1}},
		Disks: []lab.Disk{{Path: disk, Serial: machineSerial, BootIndex: 2}},
	})
	started(t, vm, err)
	agent := wait(t, vm, `^bootlace agent \S+ `+regexp.QuoteMeta(w.board.Name)+`$`)
	last := `bootlace: waiting: .*` + machineSerial
	if w.flash {
		last = `bootlace: done: `
	}
	end := wait(t, vm, last)
	vm.Kill()

	events, _ := l.since(before)
	var files []string
	for _, ev := range events {
		if ev.Kind == boot.KindServe && ev.Bytes > 0 {
			files = append(files, ev.Proto+" "+strings.TrimPrefix(ev.File, "firmware/"))
		}
		if ev.Kind == boot.KindStart {
			break
		}
	}
	fmt.Fprintf(table, "%-28s %6.1f %6.1f  %s\n", w, agent.At.Seconds(), end.At.Seconds(), strings.Join(files, ", "))
	if w.flash {
		got, err := os.ReadFile(disk)
		if err != nil || !bytes.Equal(got[:len(image)], image) {
			t.Errorf("the disk does not hold the image (%v)", err)
		}
	}
	if all := strings.Join(files, " "); w.by != "" && !strings.Contains(all, w.by) {
		t.Errorf("it did not take %s: %s", w.by, all)
	}
}
