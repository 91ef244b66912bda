package agent

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/flash"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/boot/link"
)

// A machine is this hardware, as far as the agent knows it.
type machine struct {
	board string
	uuid  *boot.UUID // nil where it has none to tell it by
	iface string     // the only link that counts, "" for all
	disks func() ([]flash.Disk, error)
}

func newMachine(cfg Config) *machine {
	m := &machine{board: cfg.Board, iface: cfg.Interface, disks: cfg.Disks}
	if m.board == "" {
		m.board = link.Board()
	}
	if m.disks == nil {
		m.disks = flash.Disks
	}
	m.look()
	return m
}

// look reads what takes /sys.
func (m *machine) look() { m.uuid = productUUID() }

// facts is what the machine is, in one line for a person.
func (m *machine) facts() string {
	f := []string{m.board + " " + runtime.GOARCH}
	if m.uuid != nil {
		f = append(f, "UUID "+m.uuid.String())
	}
	if mem, err := memory("MemTotal"); err == nil {
		f = append(f, human.Bytes(mem)+" of memory")
	}
	links, _ := link.Links(m.iface)
	for _, l := range links {
		cable := ""
		if !l.Carrier {
			cable = " without a cable"
		}
		f = append(f, fmt.Sprintf("%s %s%s", l.Name, l.MAC, cable))
	}
	disks, err := m.disks()
	switch {
	case err != nil:
		f = append(f, "disks: "+err.Error())
	case len(disks) == 0:
		f = append(f, "no disk")
	}
	for _, d := range disks {
		f = append(f, d.String())
	}
	return strings.Join(f, ", ")
}

// flashedDisk is the disk that a plan says was flashed, by its serial. Where it
// has none it is the only disk there is.
func (m *machine) flashedDisk(p *boot.Plan) (flash.Disk, error) {
	disks, err := m.disks()
	if err != nil {
		return flash.Disk{}, err
	}
	if p.Flashed != nil && p.Flashed.Disk != "" {
		i := slices.IndexFunc(disks, func(d flash.Disk) bool { return d.Serial == p.Flashed.Disk })
		if i < 0 {
			return flash.Disk{}, fmt.Errorf("the disk that was flashed, serial %s, is not here", p.Flashed.Disk)
		}
		return disks[i], nil
	}
	disks = slices.DeleteFunc(disks, func(d flash.Disk) bool { return d.Removable })
	if len(disks) != 1 {
		return flash.Disk{}, fmt.Errorf("there are %d disks, and the plan names none by its serial", len(disks))
	}
	return disks[0], nil
}

// available is the memory that could be had now, in bytes; 0 where nobody knows.
func available() int64 {
	free, err := memory("MemAvailable")
	if err != nil {
		return 0
	}
	return free
}

// memory reads a line of /proc/meminfo (proc(5)), in bytes.
func memory(key string) (int64, error) {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return parseMeminfo(string(raw), key)
}

func parseMeminfo(raw, key string) (int64, error) {
	for line := range strings.Lines(raw) {
		var kib int64
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			if _, err := fmt.Sscanf(value, "%d kB", &kib); err != nil {
				return 0, fmt.Errorf("meminfo: %q: %w", strings.TrimSpace(line), err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("meminfo: no %s", key)
}
