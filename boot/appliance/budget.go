package appliance

import (
	"log/slog"

	"github.com/bootlace/bootlace/boot/appliance/limit"
	"golang.org/x/sys/unix"
)

// A budget is how many files may be open. It is shared out to the servers, so
// that strangers of one protocol do not take the last file descriptor from
// another. TFTP transfers have a file, and share those that are the same. An
// HTTP client has a socket and a file; an FTP client has two sockets, a
// listener and a file.
type budget int

// wantFiles is enough for the defaults, 2048 + 4096 + 2048, and our own.
const wantFiles budget = 10 << 10

// openFiles raises the limit on open files to what the servers want. Without
// root it may not go so far, and our firmware starts with 4096, the kernel's
// own (INR_OPEN_MAX).
func openFiles(log *slog.Logger) budget {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur >= uint64(wantFiles) {
		return wantFiles
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(wantFiles), Max: max(l.Max, uint64(wantFiles))}) == nil {
		return wantFiles
	}
	log.Warn("few files may be open at once: fewer clients are served at a time", "limit", l.Cur, "wanted", wantFiles)
	return budget(l.Cur)
}

// share is what a server gets that wants most where there are files enough.
func (b budget) share(most int) int { return max(most*int(min(b, wantFiles))/int(wantFiles), 1) }

// conns is a server's share of connections.
func (b budget) conns(most limit.Bounds) limit.Bounds {
	return limit.Bounds{Total: b.share(most.Total), PerHost: b.share(most.PerHost)}
}
