package appliance

import (
	"log/slog"

	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/limit"
	"github.com/bootlace/bootlace/boot/appliance/web"
	"github.com/bootlace/bootlace/boot/tftp"
	"golang.org/x/sys/unix"
)

// bounds are how much strangers may have open at once, so that those of one
// protocol do not take the last file descriptor from another. TFTP transfers have
// a file, and share those that are the same; an HTTP client has a socket and a
// file, an FTP client two sockets, a listener and a file.
type bounds struct {
	tftp      tftp.Limits
	ftp, http *limit.Conns
}

// wantFiles is enough for the defaults, 2048 + 4096 + 2048, and our own.
const wantFiles = 10 << 10

// openFiles raises the limit on open files to what the servers want. Without
// root it may not go so far, and our firmware starts with 4096, the kernel's
// own (INR_OPEN_MAX).
func openFiles(log *slog.Logger) bounds {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur >= wantFiles {
		return share(wantFiles)
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: wantFiles, Max: max(l.Max, wantFiles)}) == nil {
		return share(wantFiles)
	}
	log.Warn("few files may be open at once: fewer clients are served at a time", "limit", l.Cur, "wanted", wantFiles)
	return share(int(l.Cur))
}

// share divides n files up as wantFiles is.
func share(n int) bounds {
	of := func(most int) int { return max(most*min(n, wantFiles)/wantFiles, 1) }
	return bounds{
		tftp: tftp.Limits{Files: of(2048)},
		ftp:  &limit.Conns{Total: of(ftp.DefaultLimits.Total), PerHost: of(ftp.DefaultLimits.PerHost)},
		http: &limit.Conns{Total: of(web.DefaultLimits.Total), PerHost: of(web.DefaultLimits.PerHost)},
	}
}
