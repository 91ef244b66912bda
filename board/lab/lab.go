// Package lab runs machines of the board table in QEMU, without root and
// without touching the host's network: for `mkboot run`, `mkboot demo` and tests.
package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// A Machine describes one machine; Start turns it on. The zero value of a
// field leaves it to the board or to QEMU.
type Machine struct {
	Name     string // in errors and file names
	Board    *board.Board
	Firmware Firmware // "": the board's usual one
	Vars     string   // UEFI: file of its variables, made when it is missing; "": fresh ones each start
	Memory   int      // MiB
	CPUs     int
	UUID     string

	// A kernel makes the machine boot it directly, past its firmware.
	Kernel, Initrd, Cmdline string

	NICs  []NIC
	Disks []Disk
	Args  []string // further arguments for QEMU

	// Console gets each line of the serial console as it ends, from one goroutine.
	Console func(Line)
	// Stdin, where set, is what the serial console hears, with QEMU's escapes
	// (ctrl-a x ends it); Stdout gets its bytes before they are cut into lines.
	Stdin  *os.File
	Stdout io.Writer
}

// A NIC is a network card at one end of a link.
type NIC struct {
	End       End
	MAC       string
	BootIndex int // place in the boot order from 1; 0: never booted from
}

// A Disk is a raw disk image. It is written to, unless Snapshot is set.
type Disk struct {
	Path      string
	Serial    string
	BootIndex int
	Snapshot  bool
}

// args returns QEMU's arguments; dir is for the files that live as long as the VM.
func (m *Machine) args(dir string) ([]string, error) {
	if m.Board == nil || m.Board.QEMU == nil {
		return nil, errors.New("machine without a board that QEMU knows")
	}
	q := m.Board.QEMU
	a := append([]string{"-name", m.Name, "-nodefaults", "-no-user-config"}, q.Args...)
	a = append(a, "-display", "none", "-serial", "chardev:console",
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off")
	if m.Stdin == nil {
		a = append(a, "-chardev", "stdio,id=console,signal=off")
	} else { // a person's terminal, with QEMU's escapes: ctrl-a x ends it
		a = append(a, "-chardev", "stdio,id=console,signal=off,mux=on", "-mon", "chardev=console")
	}
	if m.Memory > 0 {
		a = append(a, "-m", strconv.Itoa(m.Memory))
	}
	if m.CPUs > 0 {
		a = append(a, "-smp", strconv.Itoa(m.CPUs))
	}
	if m.UUID != "" {
		a = append(a, "-uuid", m.UUID)
	}
	if m.Kernel != "" {
		a = append(a, "-kernel", m.Kernel, "-append", m.Cmdline)
		if m.Initrd != "" {
			a = append(a, "-initrd", m.Initrd)
		}
	}
	firmware, err := m.firmware(dir)
	if err != nil {
		return nil, err
	}
	a = append(a, firmware...)
	for i, n := range m.NICs {
		a = append(a, "-netdev", fmt.Sprintf("dgram,id=net%d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s",
			i, comma(n.End.local), comma(n.End.remote)))
		dev := fmt.Sprintf("%s,id=nic%d,netdev=net%d", q.NIC, i, i)
		if n.MAC != "" {
			dev += ",mac=" + n.MAC
		}
		if len(firmware) > 0 && ownDriver(q) {
			dev += ",romfile=" // the firmware's own driver and PXE, not iPXE's
		}
		a = append(a, "-device", dev+bootIndex(n.BootIndex))
	}
	for i, d := range m.Disks {
		// unsafe: flushes are skipped, for speed. What a machine wrote before
		// it was killed is in the host's page cache all the same.
		drive := fmt.Sprintf("if=none,id=disk%d,format=raw,cache=unsafe,discard=unmap,file=%s", i, comma(d.Path))
		if d.Snapshot {
			drive += ",snapshot=on"
		}
		dev := fmt.Sprintf("%s,drive=disk%d", q.Disk, i)
		if d.Serial != "" {
			dev += ",serial=" + comma(d.Serial)
		}
		a = append(a, "-drive", drive, "-device", dev+bootIndex(d.BootIndex))
	}
	return append(a, m.Args...), nil
}

func bootIndex(i int) string {
	if i == 0 {
		return ""
	}
	return ",bootindex=" + strconv.Itoa(i)
}

// comma doubles commas, as QEMU's option syntax wants them in values.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// BlankDisk makes a file of size bytes that holds nothing and takes no room.
func BlankDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make blank disk: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("make blank disk: %w", err)
	}
	return f.Close()
}
