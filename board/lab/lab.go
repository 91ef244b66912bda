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

// A Machine describes one machine. Start turns it on. A field's zero value leaves
// it to the board or to QEMU.
type Machine struct {
	Name     string // in errors and file names
	Board    *board.Board
	Firmware Firmware // "" means the board's usual one
	Vars     string   // file of UEFI's variables, made if missing; "" means new ones at each start
	Memory   int      // MiB
	CPUs     int
	UUID     string

	// A machine with a kernel boots that directly, without its firmware.
	Kernel, Initrd, Cmdline string

	NICs  []NIC
	Disks []Disk
	Args  []string // further arguments for QEMU

	// Console gets each line of the serial console when it ends, from one
	// goroutine.
	Console func(Line)
	// Stdin is the input of the serial console, with QEMU's escapes: ctrl-a x
	// ends QEMU. Stdout gets the console's bytes before they are cut into lines.
	// Both may be nil.
	Stdin  *os.File
	Stdout io.Writer
}

// A NIC is a network card at one end of a link.
type NIC struct {
	End       End
	MAC       string
	BootIndex int // place in the boot order, from 1; 0 means never
}

// A Disk is a raw disk image. It is written to, unless Snapshot is set.
type Disk struct {
	Path      string
	Serial    string
	BootIndex int
	Snapshot  bool
}

// args returns QEMU's arguments. dir is for files that live as long as the VM.
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
	} else { // a person's terminal, with QEMU's escapes
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
	a = append(append(a, firmware...), m.nics(len(firmware) > 0)...)
	return append(append(a, m.disks()...), m.Args...), nil
}

// nics returns QEMU's arguments for the network cards.
func (m *Machine) nics(hasFirmware bool) (a []string) {
	q := m.Board.QEMU
	for i, n := range m.NICs {
		a = append(a, "-netdev", fmt.Sprintf("dgram,id=net%d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s",
			i, comma(n.End.local), comma(n.End.remote)))
		dev := fmt.Sprintf("%s,id=nic%d,netdev=net%d", q.NIC, i, i)
		if n.MAC != "" {
			dev += ",mac=" + n.MAC
		}
		if hasFirmware && ownDriver(q) {
			dev += ",romfile=" // without iPXE, so that the firmware's own PXE boots
		}
		a = append(a, "-device", dev+bootIndex(n.BootIndex))
	}
	return a
}

// disks returns QEMU's arguments for the disks.
func (m *Machine) disks() (a []string) {
	q := m.Board.QEMU
	for i, d := range m.Disks {
		// With cache=unsafe flushes are skipped, for speed. What a machine wrote
		// before it was killed is still in the host's page cache.
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
	return a
}

func bootIndex(i int) string {
	if i == 0 {
		return ""
	}
	return ",bootindex=" + strconv.Itoa(i)
}

// comma doubles commas, as QEMU's option syntax wants in values.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// BlankDisk makes a sparse file of size zero bytes.
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
