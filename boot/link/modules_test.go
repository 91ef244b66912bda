package link

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Where a bus driver finds no bus, what needs it is not even tried. All else is.
func TestLoadModulesOfAbsentBus(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for _, m := range []struct{ name, depends string }{
		{"failover", ""},
		{"hv_vmbus", ""},
		{"hv-netvsc", "hv_vmbus,failover"},
		{"hv-top", "hv-netvsc"}, // needs one that was left out
		{"broken", ""},
		{"e1000", "broken"}, // broken may have been loaded before
		{"virtio_net", "failover"},
	} {
		path := filepath.Join(dir, m.name+".ko")
		text := "\x7fELF\x00license=GPL\x00depends=" + m.depends + "\x00retpoline=Y\x00"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	var tried []string
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	loadModules(log, append(paths, filepath.Join(dir, "missing.ko")), func(path string) error {
		tried = append(tried, moduleName(path))
		switch moduleName(path) {
		case "hv_vmbus":
			return unix.ENODEV
		case "broken":
			return errors.New("broken")
		case "missing":
			return os.ErrNotExist
		}
		return nil
	})
	if want := []string{"failover", "hv_vmbus", "broken", "e1000", "virtio_net", "missing"}; !slices.Equal(tried, want) {
		t.Errorf("tried %q, want %q", tried, want)
	}
	for _, want := range []string{"level=INFO msg=\"module without its hardware\" module=" + filepath.Join(dir, "hv_vmbus.ko"), "level=WARN msg=\"module not loaded\" module=" + filepath.Join(dir, "broken.ko")} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &out)
		}
	}
}
