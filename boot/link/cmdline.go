package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/bootlace/bootlace/boot"
)

// Options is what the kernel command line may say to Bootlace.
type Options struct {
	Server  netip.Addr   // bootlace.server=ADDR: the appliance, ahead of what DHCP says
	Addr    netip.Prefix // bootlace.addr=CIDR: no address is asked for
	Action  boot.Action  // bootlace.action=serve
	Volume  string       // bootlace.store=LABEL: the file system that holds the appliance's files
	Console []string     // bootlace.console=NAME[,NAME]: devices under /dev
}

// ReadCmdline parses /proc/cmdline.
func ReadCmdline() (Options, error) {
	raw, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return Options{}, fmt.Errorf("read command line: %w", err)
	}
	return ParseCmdline(string(raw))
}

// ParseCmdline reads our words of a kernel command line (Linux
// Documentation/admin-guide/kernel-parameters.rst). None of them takes blanks,
// so quotes are not looked at. The error names each word that cannot be used.
// The others hold all the same.
func ParseCmdline(line string) (Options, error) {
	var o Options
	var errs []error
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		name, ok := strings.CutPrefix(key, "bootlace.")
		if !ok {
			continue
		}
		var err error
		switch name {
		case "server":
			o.Server, err = netip.ParseAddr(value)
		case "addr":
			o.Addr, err = netip.ParsePrefix(value)
		case "action":
			// serve is the only one that needs no plan.
			if err = boot.OneOf("action", boot.Action(value), boot.ActionServe); err == nil {
				o.Action = boot.Action(value)
			}
		case "store":
			o.Volume = value
		case "console":
			o.Console = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		default:
			err = errors.New("no such word; there are bootlace.server, .addr, .action, .store and .console")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("command line: %s: %w", word, err))
		}
	}
	return o, errors.Join(errs...)
}
