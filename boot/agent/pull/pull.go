// Package pull brings a file over whatever protocol works. It has an ordered
// list of sources, goes on with the next one from the last good byte when one
// fails, and begins again at the top when all have failed. A file is whole
// when its size and SHA-256 are those that were asked for, and only then.
package pull

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bootlace/bootlace/boot/human"
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

// A Change is the end of one protocol's part in a pull.
type Change struct {
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
	Timing   Timing      // zero: DefaultTiming
	TLS      *tls.Config // for ftps and https, nil: the system's roots
	TFTP     tftp.Client // its options and timeouts
	Log      *slog.Logger
	Notify   func(Change)                          // once for each attempt of a protocol, after it ended
	Progress func(proto string, done, total int64) // after each piece written; total -1 unknown. Called often
}

// Held is the beginning of a file that an earlier pull left behind. What a
// server modified after Time is compared from its start.
type Held struct {
	Bytes io.Reader
	Time  time.Time
}

// Order is the policy: the sources as given, but those of TFTP last where the
// file has more than tftpMax bytes.
func Order(sources []string, size, tftpMax int64) []string {
	order := slices.Clone(sources)
	if size <= tftpMax {
		return order
	}
	slices.SortStableFunc(order, func(a, b string) int { return rank(a) - rank(b) })
	return order
}

func rank(source string) int {
	if scheme, _, _ := strings.Cut(source, ":"); strings.EqualFold(scheme, "tftp") {
		return 1
	}
	return 0
}

// Fetch writes every byte of f to w, in order and once. It returns nil when
// size and digest, where File knows them, are right. An error of w ends it at
// once and is wrapped; so do fs.ErrNotExist from any server, ErrCorrupt and
// ErrChanged. Everything else is tried again until ctx ends or Timing.GiveUp.
func (p *Puller) Fetch(ctx context.Context, f File, w io.Writer) error {
	return p.Resume(ctx, f, Held{}, w)
}

// Resume is Fetch that goes on after the bytes of held, which w has already.
func (p *Puller) Resume(ctx context.Context, f File, held Held, w io.Writer) error {
	newSum := summer(f)
	t := &transfer{puller: p, timing: p.timing(), file: f, asked: f.Size, w: w, newSum: newSum, sum: newSum(), since: held.Time, versions: map[string]string{}}
	err := t.hold(held.Bytes)
	if err == nil {
		err = t.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", f.Name, err)
	}
	return nil
}

// summer makes the hashes of a file's bytes: SHA-256 where the file must have
// one. Without, what is held is only compared with what comes again, and a CRC
// tells a file from its next version at a tenth of the cost.
func summer(f File) func() hash.Hash {
	if f.SHA256 != "" {
		return sha256.New
	}
	return func() hash.Hash { return crc32.New(castagnoli) }
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p *Puller) timing() Timing {
	if p.Timing == (Timing{}) {
		return DefaultTiming
	}
	return p.Timing
}

// A transfer is one file on its way, over however many attempts.
type transfer struct {
	puller   *Puller
	timing   Timing
	file     File  // Size is filled in once a server says it
	asked    int64 // File.Size as the caller gave it
	w        io.Writer
	held     int64 // bytes that w has
	newSum   func() hash.Hash
	sum      hash.Hash         // of them
	since    time.Time         // of the bytes an earlier pull left, zero: none
	versions map[string]string // by source: its server's name for this content of the file
	broken   error             // w's error
}

// hold takes over what an earlier pull left.
func (t *transfer) hold(r io.Reader) error {
	if r == nil {
		return nil
	}
	n, err := io.Copy(t.sum, r)
	if err != nil {
		return fmt.Errorf("read what is held: %w", err)
	}
	if t.held = n; t.file.Size >= 0 && n > t.file.Size {
		return fmt.Errorf("%d bytes are held, want %d: %w", n, t.file.Size, ErrCorrupt)
	}
	return nil
}

// run goes round the sources until the file is whole.
func (t *transfer) run(ctx context.Context) error {
	if len(t.puller.Sources) == 0 {
		return errors.New("no sources")
	}
	if t.held > 0 && t.whole() {
		return t.check()
	}
	last, idle := time.Now(), 0
	for {
		before := t.held
		err := t.round(ctx)
		if err == nil {
			return nil
		}
		if f := new(final); errors.As(err, &f) {
			return f.err
		}
		if idle++; t.held > before {
			last, idle = time.Now(), 1
		}
		wait := t.timing.wait(idle)
		if g := t.timing.GiveUp; g > 0 && time.Since(last)+wait > g {
			return fmt.Errorf("no new byte for %v after %d of %s: %w", time.Since(last).Round(time.Millisecond), t.held, human.Count(t.file.Size), err)
		}
		t.log().Info("pull waits before it asks all sources again", "file", t.file.Name, "held", t.held, "wait", wait.Round(time.Millisecond), "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped after %d of %s: %w (before that: %v)", t.held, human.Count(t.file.Size), context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}

// final is an error that no other source can cure.
type final struct{ err error }

func (f *final) Error() string { return f.err.Error() }

// round asks each source once, best first, until one ends well. Its error is
// that of every source.
func (t *transfer) round(ctx context.Context) error {
	var errs []error
	refused := true
	for _, source := range Order(t.puller.Sources, t.file.Size, t.puller.TFTPMax) {
		err := t.attempt(ctx, source)
		switch {
		case err == nil:
			return nil
		case t.broken != nil:
			return &final{fmt.Errorf("write: %w", t.broken)}
		case ctx.Err() != nil:
			return &final{fmt.Errorf("stopped after %d of %s: %w", t.held, human.Count(t.file.Size), context.Cause(ctx))}
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, ErrChanged):
			return &final{fmt.Errorf("%s: %w", scheme(source), err)}
		}
		errs = append(errs, fmt.Errorf("%s: %w", scheme(source), err))
		refused = refused && (errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported))
	}
	if refused {
		return &final{join(errs)}
	}
	return join(errs)
}

// attempt lets one source carry what is missing. Its nil means that the file is
// whole.
func (t *transfer) attempt(ctx context.Context, source string) error {
	start, from := time.Now(), t.held
	s := &stream{transfer: t, source: source}
	err := s.run(ctx)
	if err == nil || t.whole() && t.file.SHA256 != "" {
		// Size and digest prove more than a protocol's farewell, or the lack of it.
		err = t.check()
	}
	c := Change{Proto: scheme(source), Source: redact(source), From: from, To: t.held, Dropped: s.dropped, Err: err, Took: time.Since(start)}
	attrs := []any{"file", t.file.Name, "proto", c.Proto, "source", c.Source, "from", c.From, "to", c.To, "total", t.file.Size, "dropped", c.Dropped, "took", c.Took.Round(time.Millisecond)}
	if err != nil {
		t.log().Warn("pull failed", append(attrs, "err", err)...)
	} else {
		t.log().Info("pull", attrs...)
	}
	if t.puller.Notify != nil {
		t.puller.Notify(c)
	}
	return err
}

// whole reports whether as many bytes are held as were asked for.
func (t *transfer) whole() bool { return t.asked >= 0 && t.held == t.asked }

// check compares what is held with what was asked for.
func (t *transfer) check() error {
	if t.asked >= 0 && t.held != t.asked {
		return fmt.Errorf("got %d bytes, want %d: %w", t.held, t.asked, ErrCorrupt)
	}
	if got := hex.EncodeToString(t.sum.Sum(nil)); t.file.SHA256 != "" && got != t.file.SHA256 {
		return fmt.Errorf("all %d bytes came, their SHA-256 is %s, want %s: %w", t.held, got, t.file.SHA256, ErrCorrupt)
	}
	return nil
}

func (t *transfer) log() *slog.Logger {
	if t.puller.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.puller.Log
}

// FetchSmall is Fetch into memory, for plans and manifests. A file of more
// than limit bytes is an error.
func (p *Puller) FetchSmall(ctx context.Context, f File, limit int64) ([]byte, error) {
	// A file made on the fly may change from one attempt to the next.
	for try := 1; ; try++ {
		b := &small{limit: limit}
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

type small struct {
	raw   []byte
	limit int64
}

func (b *small) Write(p []byte) (int, error) {
	if int64(len(b.raw)+len(p)) > b.limit {
		return 0, fmt.Errorf("larger than %d bytes", b.limit)
	}
	b.raw = append(b.raw, p...)
	return len(p), nil
}

// join makes one line of several errors, which errors.Join does not.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &all{errs}
}

type all struct{ errs []error }

func (a *all) Unwrap() []error { return a.errs }

func (a *all) Error() string {
	var s []string
	for _, err := range a.errs {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}

func scheme(source string) string {
	s, _, _ := strings.Cut(source, ":")
	return strings.ToLower(s)
}

func redact(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return scheme(source)
	}
	return u.Redacted()
}
