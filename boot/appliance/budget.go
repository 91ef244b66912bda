package appliance

import (
	"log/slog"

	"github.com/bootlace/bootlace/boot/appliance/limit"
	"golang.org/x/sys/unix"
)

// A budget is how many files may be open. Each server gets a share, so that
// clients of one protocol cannot take the file descriptors of another. A TFTP
// transfer has a file; transfers of the same file share it. An HTTP client has
// a socket and a file. An FTP client has two sockets, a listener and a file.
type budget int

// wantFiles is enough for the default limits, 2048 + 4096 + 2048, and for our
// own files.
const wantFiles budget = 10 << 10

// openFiles raises the limit on open files to wantFiles. Without root the limit
// may stay lower. Our firmware starts with 4096, the kernel's own limit
// (INR_OPEN_MAX).
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

// share is a server's part of the budget. A server that has no lack of files
// gets most.
func (b budget) share(most int) int { return max(most*int(min(b, wantFiles))/int(wantFiles), 1) }

// conns is a server's part of the budget, as limits on its connections.
func (b budget) conns(most limit.Bounds) limit.Bounds {
	return limit.Bounds{Total: b.share(most.Total), PerHost: b.share(most.PerHost)}
}
