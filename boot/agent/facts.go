package agent

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/boot/link"
)

// facts is what the machine is, in one line for a person.
func (s *Session) facts() string {
	f := []string{s.Board + " " + runtime.GOARCH}
	if s.uuid != nil {
		f = append(f, "UUID "+s.uuid.String())
	}
	if mem, err := memory("MemTotal"); err == nil {
		f = append(f, human.Bytes(mem)+" of memory")
	}
	links, _ := link.Links(s.cfg.Interface)
	for _, l := range links {
		cable := ""
		if !l.Carrier {
			cable = " without a cable"
		}
		f = append(f, fmt.Sprintf("%s %s%s", l.Name, l.MAC, cable))
	}
	disks, err := s.disks()
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
