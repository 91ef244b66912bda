//go:build qemu

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/images"
	"github.com/bootlace/bootlace/images/firmware"
	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sync/errgroup"
)

// made is what the tests share.
var made struct {
	dir     string
	root    string // firmware of every board that QEMU has, and images
	program string // bootlace for this machine
	server  string // root with an appliance's firmware

	small []byte // root's small.raw
}

// systemBoard is what the system image and the live system are for.
const systemBoard = "qemu-x86_64"

// What the root holds besides firmware.
const (
	smallImage = "small.raw" // for any board; nothing boots from it
	liveKernel = "live/vmlinuz"
	liveInitrd = "live/initrd.cpio"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mkboot")
	if err != nil {
		panic(err)
	}
	made.dir, made.root, made.server = dir, filepath.Join(dir, "root"), filepath.Join(dir, "server")
	made.program = filepath.Join(dir, "bootlace")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// prepare makes everything, once.
func prepare(t *testing.T) {
	t.Helper()
	if err := makeAll(); err != nil {
		t.Fatal(err)
	}
}

// makeAll runs two processes at a time and begins with what takes longest.
// Firmware of QEMU's own boards is fully compressed, since it has a size limit.
var makeAll = sync.OnceValue(func() error {
	ctx := context.Background()
	var g errgroup.Group
	g.SetLimit(2)
	for _, b := range board.Boards {
		if strings.HasPrefix(b.Name, "qemu-") {
			g.Go(func() error { return build(ctx, []string{b.Name, "-o", made.root}) })
		}
	}
	for _, b := range board.Boards {
		if !strings.HasPrefix(b.Name, "qemu-") && b.QEMU != nil {
			g.Go(func() error { return build(ctx, []string{b.Name, "--fast", "-o", made.root}) })
		}
	}
	g.Go(func() error { return build(ctx, []string{applianceBoard, "--fast", "--serve", "-o", made.server}) })
	g.Go(func() error {
		// As package cmd/bootlace's tests build it, so that Go's cache has it.
		cmd := exec.Command("go", "build", "-trimpath", "-o", made.program, "../bootlace")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		return output(cmd)
	})
	g.Go(func() error { return makeImages(ctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	// The live system's kernel is the firmware's.
	b, _ := board.ByName(systemBoard)
	return os.Link(filepath.Join(made.root, b.File(board.Kernel)), filepath.Join(made.root, liveKernel))
})

// output runs a command. The error quotes what the command printed.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// makeImages puts into the root what machines are given.
func makeImages(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(made.root, filepath.Dir(liveKernel)), 0o755); err != nil {
		return err
	}
	made.small = make([]byte, 8<<20)
	rand.Read(made.small[:2<<20])
	if err := os.WriteFile(filepath.Join(made.root, smallImage), made.small, 0o644); err != nil {
		return err
	}
	if err := makeLive(filepath.Join(made.root, liveInitrd), "amd64"); err != nil {
		return err
	}
	system, err := systemImage()
	if err != nil {
		return err
	}
	name := filepath.Join(made.root, demoImage)
	if err := output(exec.Command("cp", system, name)); err != nil {
		return err
	}
	_, _, err = images.Add(ctx, name)
	return err
}

// systemImage returns the bootable image of scripts/diskimage. It is made unless
// the cache has it, from scripts/demo or an earlier run.
func systemImage() (string, error) {
	id, err := exec.Command("../../scripts/diskimage", "--id").Output()
	if err != nil {
		return "", fmt.Errorf("scripts/diskimage --id: %w", err)
	}
	cache, err := firmware.CacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Join(cache, "image", strings.TrimSpace(string(id))+".raw.zst")
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", err
	}
	part := filepath.Join(filepath.Dir(name), fmt.Sprintf(".part-%d.raw.zst", os.Getpid()))
	if err := output(exec.Command("../../scripts/diskimage", part)); err != nil {
		return "", err
	}
	return name, os.Rename(part, name)
}

// liveInit is the init of a system that exists only in memory.
const liveInit = `package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.MkdirAll("/proc", 0o755)
	syscall.Mount("proc", "/proc", "proc", 0, "")
	cmdline, _ := os.ReadFile("/proc/cmdline")
	fmt.Printf("live system: up, command line %s\n", strings.TrimSpace(string(cmdline)))
	time.Sleep(time.Hour)
}
`

// makeLive packs the live system for an architecture.
func makeLive(path, arch string) error {
	dir, err := os.MkdirTemp(made.dir, "live")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"go.mod": "module live\n", "main.go": liveInit} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command("go", "build", "-o", "init", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOARCH="+arch)
	if err := output(cmd); err != nil {
		return err
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := cpio.Newc.Writer(f)
	for _, r := range []cpio.Record{cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.StaticFile("init", string(init), 0o755)} {
		if err := w.WriteRecord(r); err != nil {
			return err
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return f.Close()
}
