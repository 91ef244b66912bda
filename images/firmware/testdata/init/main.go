// Command init stands in for the agent in tests. It loads the
// modules in order and prints what hardware appeared. Then it switches the
// machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

var version = "unknown"

func main() {
	// The kernel's messages would come between ours.
	const consoleOff = 6 // SYSLOG_ACTION_CONSOLE_OFF, syslog(2)
	unix.Klogctl(consoleOff, nil)
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil {
			fmt.Println("test: mount", m.dir, err)
		}
	}
	fmt.Println("test: version", version)
	board, err := os.ReadFile("/etc/bootlace/board")
	fmt.Println("test: board", strings.TrimSpace(string(board)), err)
	fmt.Println("test: modules", load())
	fmt.Println("test: net", appear("/sys/class/net/*/device"))
	fmt.Println("test: disk", appear("/sys/class/block/*/device"))
	_, err = os.Stat("/sys/firmware/efi")
	fmt.Println("test: efi", err == nil)
	cmdline, _ := os.ReadFile("/proc/cmdline")
	fmt.Println("test: cmdline", strings.TrimSpace(string(cmdline)))
	var info unix.Sysinfo_t
	unix.Sysinfo(&info)
	fmt.Println("test: free MiB", info.Freeram>>20, "of", info.Totalram>>20)
	fmt.Println("test: end")
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// load returns how many modules were loaded, or what went wrong. A driver
// whose hardware is missing, such as efivarfs on a BIOS machine, is no error.
func load() string {
	list, err := os.ReadFile("/etc/bootlace/modules")
	if err != nil {
		return err.Error()
	}
	n := 0
	for _, name := range strings.Fields(string(list)) {
		f, err := os.Open(name)
		if err != nil {
			return err.Error()
		}
		err = kmodule.FileInit(f, "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Sprintf("%s: %v", name, err)
		}
		n++
	}
	return fmt.Sprintf("%d loaded", n)
}

// appear waits for a device of a class, and names it.
func appear(pattern string) string {
	for range 50 {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return filepath.Base(filepath.Dir(found[0]))
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "none"
}
