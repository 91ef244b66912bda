package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/bootlace/bootlace/boot/human"
)

// A fetch is one file on its way, over however many attempts.
type fetch struct {
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
func (f *fetch) hold(r io.Reader) error {
	if r == nil {
		return nil
	}
	n, err := io.Copy(f.sum, r)
	if err != nil {
		return fmt.Errorf("read what is held: %w", err)
	}
	if f.held = n; f.file.Size >= 0 && n > f.file.Size {
		return fmt.Errorf("%d bytes are held, want %d: %w", n, f.file.Size, ErrCorrupt)
	}
	return nil
}

// run goes round the sources until the file is whole.
func (f *fetch) run(ctx context.Context) error {
	if len(f.puller.Sources) == 0 {
		return errors.New("no sources")
	}
	if f.held > 0 && f.whole() {
		return f.check()
	}
	last, idle := time.Now(), 0
	for {
		before := f.held
		err := f.round(ctx)
		if err == nil {
			return nil
		}
		if end := new(finalError); errors.As(err, &end) {
			return end.err
		}
		if idle++; f.held > before {
			last, idle = time.Now(), 1
		}
		wait := f.timing.wait(idle)
		if g := f.timing.GiveUp; g > 0 && time.Since(last)+wait > g {
			return fmt.Errorf("no new byte for %v after %d of %s: %w", time.Since(last).Round(time.Millisecond), f.held, human.Count(f.file.Size), err)
		}
		f.log().Info("pull waits before it asks all sources again", "file", f.file.Name, "held", f.held, "wait", wait.Round(time.Millisecond), "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped after %d of %s: %w (before that: %v)", f.held, human.Count(f.file.Size), context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}

// A finalError is one that no other source can cure.
type finalError struct{ err error }

func (f *finalError) Error() string { return f.err.Error() }

// round asks each source once, best first, until one ends well. Its error is
// that of every source.
func (f *fetch) round(ctx context.Context) error {
	var errs []error
	refused := true
	for _, source := range order(f.puller.Sources, f.file.Size, f.puller.TFTPMax) {
		err := f.attempt(ctx, source)
		switch {
		case err == nil:
			return nil
		case f.broken != nil:
			return &finalError{fmt.Errorf("write: %w", f.broken)}
		case ctx.Err() != nil:
			return &finalError{fmt.Errorf("stopped after %d of %s: %w", f.held, human.Count(f.file.Size), context.Cause(ctx))}
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, ErrChanged):
			return &finalError{fmt.Errorf("%s: %w", scheme(source), err)}
		}
		errs = append(errs, fmt.Errorf("%s: %w", scheme(source), err))
		refused = refused && (errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported))
	}
	if refused {
		return &finalError{join(errs)}
	}
	return join(errs)
}

// attempt lets one source carry what is missing. Its nil means that the file is
// whole.
func (f *fetch) attempt(ctx context.Context, source string) error {
	start, from := time.Now(), f.held
	s := &stream{fetch: f, source: source}
	err := s.run(ctx)
	if err == nil || f.whole() && f.file.SHA256 != "" {
		// Size and digest prove more than a protocol's farewell, or the lack of it.
		err = f.check()
	}
	a := Attempt{Proto: scheme(source), Source: redact(source), From: from, To: f.held, Dropped: s.dropped, Err: err, Took: time.Since(start)}
	attrs := []any{"file", f.file.Name, "proto", a.Proto, "source", a.Source, "from", a.From, "to", a.To, "total", f.file.Size, "dropped", a.Dropped, "took", a.Took.Round(time.Millisecond)}
	if err != nil {
		f.log().Warn("pull failed", append(attrs, "err", err)...)
	} else {
		f.log().Info("pull", attrs...)
	}
	if f.puller.Notify != nil {
		f.puller.Notify(a)
	}
	return err
}

// whole reports whether as many bytes are held as were asked for.
func (f *fetch) whole() bool { return f.asked >= 0 && f.held == f.asked }

// check compares what is held with what was asked for.
func (f *fetch) check() error {
	if f.asked >= 0 && f.held != f.asked {
		return fmt.Errorf("got %d bytes, want %d: %w", f.held, f.asked, ErrCorrupt)
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); f.file.SHA256 != "" && got != f.file.SHA256 {
		return fmt.Errorf("all %d bytes came, their SHA-256 is %s, want %s: %w", f.held, got, f.file.SHA256, ErrCorrupt)
	}
	return nil
}

func (f *fetch) log() *slog.Logger {
	if f.puller.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.puller.Log
}

// summer makes the hashes of a file's bytes: SHA-256 where the file must have
// one. Without, what is held is only compared with what comes again. A CRC does
// that at a tenth of the cost.
func summer(f File) func() hash.Hash {
	if f.SHA256 != "" {
		return sha256.New
	}
	return func() hash.Hash { return crc32.New(castagnoli) }
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// join makes one line of several errors, which errors.Join does not.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &joinedErrors{errs}
}

type joinedErrors struct{ errs []error }

func (j *joinedErrors) Unwrap() []error { return j.errs }

func (j *joinedErrors) Error() string {
	var s []string
	for _, err := range j.errs {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}

// scheme is that of a URL, in lower case.
func scheme(source string) string {
	s, _, _ := strings.Cut(source, ":")
	return strings.ToLower(s)
}

// redact is a URL without its password.
func redact(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return scheme(source)
	}
	return u.Redacted()
}
