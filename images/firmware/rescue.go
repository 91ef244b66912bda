package firmware

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
)

// urootModule has the commands of a rescue image. Our go.mod names its version.
// Its own go.mod and go.sum name the versions of what it needs.
const urootModule = "github.com/u-root/u-root"

// RescueInit is what the kernel runs instead of the agent with rdinit=/bin/rescue
// on its command line. u-root's own init does not do: it loads all modules, in
// no order, and gives the shell no terminal.
const RescueInit = "bin/rescue"

// rescueCommands are folders in u-root's cmds/core.
var rescueCommands = []string{
	"gosh", // the shell
	"basename", "cat", "chmod", "cmp", "cp", "date", "dd", "df", "dirname", "dmesg", "du", "echo", "false",
	"find", "free", "grep", "gzip", "head", "hexdump", "hostname", "id", "kill", "ln", "ls", "mkdir", "mknod",
	"more", "mount", "mv", "ps", "pwd", "readlink", "rm", "seq", "shasum", "sleep", "sort", "strings", "sync",
	"tail", "tar", "tee", "touch", "tr", "true", "umount", "uname", "uniq", "uptime", "wc", "which", "xargs",
	"blkid", "gpt", "insmod", "io", "losetup", "lsdrivers", "lsmod", "msr", "pci", "rmmod",
	"dhclient", "ip", "netcat", "netstat", "ping", "wget",
	"kexec", "poweroff", "shutdown", "strace",
}

const rescueScript = `#!/bbin/gosh
export PATH=/bbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
for module in $(cat ` + board.ModulesFile + `); do insmod $module; done
echo "Bootlace rescue: u-root's tools are in /bbin; exit restarts the machine."
/bbin/gosh
shutdown -r now
`

// rescue returns u-root's shell and tools, as one program (busybox mode), for an
// initramfs. It records the version of u-root.
func (b *boardBuild) rescue(ctx context.Context, goarch string) (add addition, err error) {
	src, err := OpenSource(ctx, b.Source)
	if err != nil {
		return add, err
	}
	defer src.Close()
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-json", urootModule)
	cmd.Dir = src.dir
	if cmd.Env, err = src.environ(ctx, goarch); err != nil {
		return add, err
	}
	out, err := cmd.Output()
	if err != nil {
		return add, fmt.Errorf("find %s: %w", urootModule, err)
	}
	var uroot struct{ Dir, Version string }
	if err := json.Unmarshal(out, &uroot); err != nil {
		return add, fmt.Errorf("find %s: %w", urootModule, err)
	}
	b.record.add("rescue %s %s", urootModule, uroot.Version)
	// A mkboot that was built with -trimpath does not know where Go is.
	goroot, err := src.goEnv(ctx, "GOROOT")
	if err != nil {
		return add, err
	}
	var dirs []string
	for _, name := range rescueCommands {
		dirs = append(dirs, filepath.Join(uroot.Dir, "cmds", "core", name))
	}
	env := []golang.Opt{
		golang.DisableCGO(), golang.WithGOROOT(goroot["GOROOT"]), golang.WithGOARCH(goarch), golang.WithMod(golang.ModReadonly),
		golang.WithWorkingDir(uroot.Dir), // so that its go.mod applies, not ours
		golang.WithBuildTag("goshliner"), // the smaller of its line editors
	}
	add.records = []cpio.Record{
		cpio.StaticFile(RescueInit, rescueScript, 0o755),
	}
	add.commands = []uimage.Modifier{
		uimage.WithEnv(env...),
		uimage.WithBusyboxCommands(dirs...),
		uimage.WithBusyboxBuildOpts(&golang.BuildOpts{ExtraArgs: []string{"-buildvcs=false"}}),
	}
	return add, nil
}

// setenv sets environment variables of this process, which u-root's builder
// inherits. restore puts them back.
func setenv(env []string) (restore func()) {
	old := make(map[string]string)
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if was, ok := os.LookupEnv(k); ok {
			old[k] = was
		}
		os.Setenv(k, v)
	}
	return func() {
		for _, kv := range env {
			k, _, _ := strings.Cut(kv, "=")
			if was, ok := old[k]; ok {
				os.Setenv(k, was)
			} else {
				os.Unsetenv(k)
			}
		}
	}
}
