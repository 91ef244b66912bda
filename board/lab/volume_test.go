package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVolume(t *testing.T) {
	debugfs, err := lookPath("debugfs")
	if err != nil {
		skip(t, err) // of the same package as mke2fs
	}
	dir := t.TempDir()
	root, image := filepath.Join(dir, "served"), filepath.Join(dir, "image")
	for path, text := range map[string]string{
		filepath.Join(root, "firmware/board/vmlinuz"): "kernel", image: strings.Repeat("image", 1<<20),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(dir, "disk.raw")
	v := Volume{Config: "address: 10.0.0.1/24\n", Root: root, Files: map[string]string{"lab/x.raw": image}}
	if err := v.Make(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat /bootlace.yaml":                v.Config,
		"cat /root/firmware/board/vmlinuz":  "kernel",
		"stat /root/lab/x.raw":              "Size: 5242880",
		"stat /state":                       "Mode:  0700",
		"show_super_stats -h":               "Filesystem volume name:   BOOTLACE",
		"stat /root/firmware/board/nothing": "not found",
	} {
		t.Run(command, func(t *testing.T) {
			out, err := exec.Command(debugfs, "-R", command, disk).CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("debugfs %s: %v, want %q in\n%s", command, err, want, out)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "volume*")); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
	v.Files["lab/x.raw"] = filepath.Join(dir, "missing")
	if err := v.Make(t.Context(), disk); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a file that is not there: %v", err)
	}
}
