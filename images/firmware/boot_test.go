//go:build qemu

package firmware

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/nettest"
)

// Firmware of every board that QEMU can be boots, loads its modules in the
// order given, and finds its network card and disk.
func TestQEMUBoot(t *testing.T) {
	for _, b := range board.Boards {
		if b.QEMU == nil {
			continue
		}
		r, _ := buildTest(t, b)
		t.Run(b.Name, func(t *testing.T) {
			text := qemu(t, b, "-kernel", filepath.Join(r.Dir, board.Kernel),
				"-initrd", filepath.Join(r.Dir, board.Initramfs), "-append", b.CommandLine())
			check(t, text, b, "false")
		})
		t.Run(b.Name+"-uefi", func(t *testing.T) {
			ovmf := firmwareFile(t, b)
			esp := t.TempDir()
			if err := os.MkdirAll(filepath.Join(esp, "EFI", "BOOT"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(r.Dir, board.UKI), filepath.Join(esp, "EFI", "BOOT", "BOOTX64.EFI")); err != nil {
				t.Fatal(err)
			}
			text := qemu(t, b, "-bios", ovmf, "-drive", "if=none,id=esp,format=raw,readonly=on,file=fat:"+esp,
				"-device", "virtio-blk-pci,drive=esp,bootindex=0")
			check(t, text, b, "true")
		})
	}
}

func firmwareFile(t *testing.T, b *board.Board) string {
	t.Helper()
	const ovmf = "/usr/share/ovmf/OVMF.fd"
	if b.Arch != "amd64" {
		t.Skip("no UEFI known for " + b.Arch)
	}
	if _, err := os.Stat(ovmf); err != nil {
		nettest.Skip(t, "ovmf is not installed")
	}
	return ovmf
}

func check(t *testing.T, text string, b *board.Board, efi string) {
	t.Helper()
	for _, want := range []string{
		`test: board ` + b.Name + ` <nil>`,
		`test: modules \d+ loaded`,
		`test: net \w+`,
		`test: disk \w+`,
		`test: efi ` + efi,
		`test: cmdline .*` + regexp.QuoteMeta(b.CommandLine()),
		`test: end`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("it did not say %q", want)
		}
	}
	if strings.Contains(text, "test: net none") || strings.Contains(text, "test: disk none") {
		t.Error("hardware is missing")
	}
	if t.Failed() {
		t.Log(text)
		return
	}
	for _, line := range regexp.MustCompile(`test: .*`).FindAllString(text, -1) {
		t.Log(strings.TrimSpace(line))
	}
}

// qemu runs a machine of the board until it switches itself off, and returns
// what its serial console said.
func qemu(t *testing.T, b *board.Board, args ...string) string {
	t.Helper()
	program := nettest.Need(t, b.QEMU.Command)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	args = append(append([]string{}, b.QEMU.Args...), args...)
	args = append(args, "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-nic", "none", "-device", b.QEMU.NIC+",netdev=n,romfile=", "-netdev", "hubport,id=n,hubid=0",
		"-drive", "if=none,id=d,format=raw,file="+disk, "-device", b.QEMU.Disk+",drive=d")
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Error(fmt.Errorf("%s: %w: %s", b.QEMU.Command, err, stderr.Bytes()))
	}
	t.Logf("ran for %v", time.Since(start).Round(100*time.Millisecond))
	return out.String()
}
