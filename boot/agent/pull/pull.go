package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bootlace/bootlace/boot/tftp"
)

// Errors that end a pull at once, whatever sources are left.
var (
	ErrCorrupt = errors.New("not the file that was asked for") // size or SHA-256 differ from File's
	ErrChanged = errors.New("file changed on the server")      // between two attempts to get it
)

// A File is what to get.
type File struct {
	Name   string // below the source's base URL, without a leading slash
	Size   int64  // bytes, -1 unknown
	SHA256 string // lower-case hex, "" unknown
}

// An Attempt is the end of one protocol's part in a pull.
type Attempt struct {
	Proto    string        // scheme of the source
	Source   string        // base URL without its password
	From, To int64         // it carried the bytes [From, To) of the file
	Dropped  int64         // bytes that it sent again and that were compared with those held
	Err      error         // why it ended, nil where the file is whole
	Took     time.Duration // from its first packet
}

// A Puller gets files from servers that all serve the same tree.
type Puller struct {
	Sources  []string    // base URLs in the order of the policy, each ends in /
	TFTPMax  int64       // bytes; a larger file asks TFTP last
	Timing   Timing      // zero fields: those of DefaultTiming
	TLS      *tls.Config // for ftps and https, nil: the system's roots
	TFTP     tftp.Client // its options and timeouts
	Log      *slog.Logger
	Notify   func(Attempt)                         // once for each attempt of a protocol, after it ended
	Progress func(proto string, done, total int64) // after each piece written; total -1 unknown. Called often
}

// Held is the beginning of a file that an earlier pull left behind. What a
// server modified after Time is compared from its start.
type Held struct {
	Bytes io.Reader
	Time  time.Time
}

// order is the policy. It returns the sources as given, but those of TFTP last
// where the file has more than tftpMax bytes.
func order(sources []string, size, tftpMax int64) []string {
	sorted := slices.Clone(sources)
	if size <= tftpMax {
		return sorted
	}
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}

// rank is higher for what is asked last.
func rank(source string) int {
	if scheme, _, _ := strings.Cut(source, ":"); strings.EqualFold(scheme, "tftp") {
		return 1
	}
	return 0
}

// Fetch writes every byte of f to w, in order and once. It returns nil when size
// and digest, where File knows them, are right. An error of w ends it at once
// and is wrapped. So do fs.ErrNotExist from any server, ErrCorrupt and
// ErrChanged. Everything else is tried again until ctx ends or Timing.GiveUp.
func (p *Puller) Fetch(ctx context.Context, f File, w io.Writer) error {
	return p.Resume(ctx, f, Held{}, w)
}

// Resume is Fetch that goes on after the bytes of held, which w has already.
func (p *Puller) Resume(ctx context.Context, f File, held Held, w io.Writer) error {
	newSum := summer(f)
	t := &fetch{puller: p, timing: p.timing(), file: f, asked: f.Size, w: w, newSum: newSum, sum: newSum(), since: held.Time, versions: map[string]string{}}
	err := t.hold(held.Bytes)
	if err == nil {
		err = t.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", f.Name, err)
	}
	return nil
}

func (p *Puller) timing() Timing {
	return p.Timing.orDefaults()
}

// FetchSmall is Fetch into memory, for plans and manifests. A file of more
// than limit bytes is an error.
func (p *Puller) FetchSmall(ctx context.Context, f File, limit int64) ([]byte, error) {
	// A file made on the fly may change from one attempt to the next.
	for try := 1; ; try++ {
		b := &smallFile{limit: limit}
		err := p.Fetch(ctx, f, b)
		if errors.Is(err, ErrChanged) && try < 3 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b.raw, nil
	}
}

type smallFile struct {
	raw   []byte
	limit int64
}

func (b *smallFile) Write(p []byte) (int, error) {
	if int64(len(b.raw)+len(p)) > b.limit {
		return 0, fmt.Errorf("larger than %d bytes", b.limit)
	}
	b.raw = append(b.raw, p...)
	return len(p), nil
}
