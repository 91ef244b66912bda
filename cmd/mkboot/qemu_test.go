//go:build qemu

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/images"
	"github.com/u-root/u-root/pkg/cpio"
)

// made holds what all tests use: a root with firmware, and the disk image that
// scripts/diskimage makes.
var made struct{ root, server, image string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mkboot")
	if err != nil {
		panic(err)
	}
	made.root, made.server, made.image = filepath.Join(dir, "root"), filepath.Join(dir, "server"), filepath.Join(dir, "lab.raw.zst")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// aBench makes what is missing of firmware and image, and a bench around them.
func aBench(t *testing.T, firmware lab.Firmware) *bench {
	t.Helper()
	if err := lab.Missing(board.Boards[0], firmware); err != nil {
		nettest.Skip(t, err.Error())
	}
	name := board.Boards[0].Name
	if _, err := os.Stat(made.root); err != nil {
		if err := build(t.Context(), []string{"-o", made.root, name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(made.image); err != nil {
		if out, err := exec.Command("../../scripts/diskimage", made.image).CombinedOutput(); err != nil {
			t.Fatalf("scripts/diskimage: %v\n%s", err, out)
		}
	}
	b, err := newBench(name, made.root, t.TempDir(), firmware)
	if err != nil {
		t.Fatal(err)
	}
	b.serverRoot = made.server
	if _, err := os.Stat(made.server); err != nil {
		if err := b.buildServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// withImage is a store with the disk image and its manifest.
func withImage(t *testing.T, b *bench, profile string) lab.Store {
	t.Helper()
	manifest, _, err := images.Add(t.Context(), made.image)
	if err != nil {
		t.Fatal(err)
	}
	return lab.Store{
		Config: benchConfig + profile, Root: made.root,
		Files: map[string]string{demoImage: made.image, demoImage + images.ManifestSuffix: manifest},
	}
}

// serve turns the appliance on; it serves when this returns.
func serve(t *testing.T, b *bench, store lab.Store) *lab.VM {
	t.Helper()
	vm, err := b.appliance(t.Context(), store, nil)
	return started(t, vm, err)
}

// machine turns the machine on.
func machine(t *testing.T, b *bench, disk string) *lab.VM {
	t.Helper()
	vm, err := lab.Start(t.Context(), b.machine(t.Context(), disk))
	return started(t, vm, err)
}

func started(t *testing.T, vm *lab.VM, err error) *lab.VM {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Kill()
		<-vm.Ended()
		if !t.Failed() {
			return
		}
		for _, l := range vm.Lines() {
			t.Logf("%s %6.1f %s", vm.Name, l.At.Seconds(), l.Text)
		}
	})
	return vm
}

// wait waits for a line on the console, behind the last one that was waited for.
func wait(t *testing.T, vm *lab.VM, pattern string) lab.Line {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	line, err := vm.WaitFor(ctx, regexp.MustCompile(pattern))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %6.1f %s", vm.Name, line.At.Seconds(), line.Text)
	return line
}

func blankDisk(t *testing.T, b *bench) string {
	t.Helper()
	disk := filepath.Join(b.dir, "disk.raw")
	if err := lab.BlankDisk(disk, 512<<20); err != nil {
		t.Fatal(err)
	}
	return disk
}

// The main job by BIOS, with a power cut in mid-flash: the next power-on
// finishes the job, and the one after that boots from the disk although the
// network comes first.
func TestQEMUFlashBIOS(t *testing.T) {
	b := aBench(t, lab.BIOS)
	appliance := serve(t, b, withImage(t, b, demoProfile))
	disk := blankDisk(t, b)
	m := machine(t, b, disk)
	wait(t, m, `ftp +\[##+\.`)
	m.Kill()
	<-m.Ended()

	m = machine(t, b, disk)
	wait(t, m, `bootlace: done: `)
	wait(t, appliance, `"kind":"done"`)
	wait(t, m, `flashed system: up from /dev/vda`)
	said(t, m, `Booting from SAN device 0x80`)
	said(t, appliance, `ftp carried lab.raw.zst`)
}

// The main job by UEFI. After the flash BootNext leads to the disk; at the
// next power-on the network comes first again, our firmware is told local and
// sends the machine to its disk by BootNext.
func TestQEMUFlashUEFI(t *testing.T) {
	b := aBench(t, lab.UEFI)
	serve(t, b, withImage(t, b, demoProfile))
	m := machine(t, b, blankDisk(t, b))
	wait(t, m, `bootlace: done: `)
	wait(t, m, `flashed system: up from /dev/vda`)
	if err := m.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, m, `plan: local`)
	wait(t, m, `flashed system: up from /dev/vda`)
}

// live is the init of a system that is only ever in memory.
const live = `package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	os.MkdirAll("/proc", 0o755)
	mount()
	cmdline, _ := os.ReadFile("/proc/cmdline")
	fmt.Printf("live system: up, command line %s\n", strings.TrimSpace(string(cmdline)))
	time.Sleep(time.Hour)
}
`

const liveMount = `package main

import "syscall"

func mount() { syscall.Mount("proc", "/proc", "proc", 0, "") }
`

// liveInitrd packs the live system.
func liveInitrd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module live\n", "main.go": live, "mount.go": liveMount} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "init", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOARCH="+board.Boards[0].Arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build live system: %v\n%s", err, out)
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "initrd.cpio")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := cpio.Newc.Writer(f)
	for _, r := range []cpio.Record{cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.StaticFile("init", string(init), 0o755)} {
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Diskless: the firmware pulls kernel and initrd and kexecs them.
func TestQEMUBoot(t *testing.T) {
	b := aBench(t, lab.BIOS)
	appliance := serve(t, b, lab.Store{
		Config: benchConfig + `
profiles:
  - name: live
    action: boot
    kernel: live/vmlinuz
    initrd: live/initrd.cpio
    cmdline: console=ttyS0 live=yes
`,
		Root:  made.root,
		Files: map[string]string{"live/vmlinuz": filepath.Join(made.root, b.board.File(board.Kernel)), "live/initrd.cpio": liveInitrd(t)},
	})
	m := machine(t, b, blankDisk(t, b))
	wait(t, m, `live system: up, command line .*live=yes`)
	said(t, appliance, `"kind":"handover"`)
}

// An appliance without profiles, and what comes to it: an appliance whose
// config has no address, which asks for one, and a machine, which is booted,
// says what it is and waits; its disk stays blank.
func TestQEMUNoProfile(t *testing.T) {
	b := aBench(t, lab.BIOS)
	appliance := serve(t, b, lab.Store{Config: benchConfig, Root: made.root})

	m := b.machine(t.Context(), filepath.Join(b.dir, "store2.raw"))
	if err := (lab.Store{Config: "log: json\n"}).Make(t.Context(), m.Disks[0].Path); err != nil {
		t.Fatal(err)
	}
	m.Kernel, m.Initrd = filepath.Join(made.server, b.server.File(board.Kernel)), filepath.Join(made.server, b.server.File(board.Initramfs))
	m.Cmdline = b.board.CommandLine()
	second, err := lab.Start(t.Context(), m)
	started(t, second, err)
	wait(t, second, `bootlace: eth0 has 10\.77\.0\.1\d\d/24 from 10\.77\.0\.1 `)
	wait(t, second, `"msg":"serving".*"dhcp":"proxy".*"address":"10\.77\.0\.1\d\d"`)
	second.Kill()
	<-second.Ended()

	waiting := machine(t, b, blankDisk(t, b))
	wait(t, waiting, `bootlace: waiting: .*`+machineSerial)
	wait(t, appliance, `"kind":"waiting"`)
}

// said checks for a line that may stand anywhere.
func said(t *testing.T, vm *lab.VM, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var all []string
	for _, l := range vm.Lines() {
		if re.MatchString(l.Text) {
			return
		}
		all = append(all, l.Text)
	}
	t.Errorf("%s did not say %q:\n%s", vm.Name, pattern, strings.Join(all, "\n"))
}
