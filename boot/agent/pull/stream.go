package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"strings"
	"time"
)

// A stream is what one attempt of one protocol brings.
type stream struct {
	*fetch
	source  string
	size    int64     // as this server said, -1 unknown
	begun   bool      // begin was called
	skip    int64     // bytes still to come that are held
	dropped int64     // bytes that came and were held
	prefix  hash.Hash // of the dropped ones
	want    []byte    // what prefix must be once skip is 0
	stall   *watchdog
}

// run is the attempt. It ends in an error when nothing came for Timing.Stall.
func (s *stream) run(ctx context.Context) error {
	s.size = -1
	u, err := fileURL(s.source, s.file.Name)
	if err != nil {
		return err
	}
	proto, err := protocolOf(u)
	if err != nil {
		return err
	}
	ctx, s.stall = watch(ctx, s.timing.Stall)
	defer s.stall.end()
	err = guard(func() error { return proto.get(ctx, u, s) })
	switch {
	case s.broken != nil:
		return s.broken
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	return s.end()
}

// guard makes an error of a panic. jlaffaye/ftp 0.2.4 trips over "227 )(". A
// library that does so must not take PID 1 of a device with it.
func guard(get func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("server's answer cannot be understood: %v", p)
		}
	}()
	return get()
}

// fileURL puts a name behind a base URL, which ends in a slash.
func fileURL(source, name string) (*url.URL, error) {
	u, err := url.Parse(source)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("source is not a URL with a host: %w", errors.ErrUnsupported)
	}
	if strings.ContainsAny(name, "\x00\r\n") {
		return nil, fmt.Errorf("name has control characters: %w", errors.ErrUnsupported)
	}
	u.Path, u.RawPath = u.Path+name, ""
	return u, nil
}

// announce takes the size that the server gives for the whole file. It refuses
// one that is not the size it must have.
func (s *stream) announce(size int64) error {
	if size < 0 {
		return nil
	}
	s.size = size
	switch {
	case s.asked >= 0 && size != s.asked:
		return fmt.Errorf("server has %d bytes, want %d: %w", size, s.asked, ErrCorrupt)
	case s.file.Size >= 0 && size != s.file.Size:
		return fmt.Errorf("server has %d bytes, had %d: %w", size, s.file.Size, ErrChanged)
	case size < s.held:
		return fmt.Errorf("server has %d bytes, %d are held: %w", size, s.held, ErrChanged)
	}
	s.file.Size = size
	return nil
}

// resumable reports whether it is safe to go on behind what is held. It is when
// something will show that the rest is of the same file. The digest does, the
// server's name for the content, or the age of what was left. Otherwise the
// start is compared.
func (s *stream) resumable() bool {
	return s.held > 0 && (s.file.SHA256 != "" || s.versions[s.source] != "" || !s.since.IsZero())
}

// same reports whether the server's file is still the one of which the beginning
// is held. Its version and its time of modification tell. Either may be empty.
// same notes the version for the attempts to come.
func (s *stream) same(version string, modified time.Time) bool {
	had := s.versions[s.source]
	s.versions[s.source] = version
	return (had == "" || version == "" || had == version) && (s.since.IsZero() || !modified.After(s.since))
}

// begin says at which byte of the file the writes begin. That is held, or 0
// where the server starts over. Then what is held is dropped as it comes and its
// digest compared.
func (s *stream) begin(at int64) {
	s.begun = true
	if at == s.held {
		return
	}
	s.skip, s.prefix, s.want = s.held, s.newSum(), s.sum.Sum(nil)
}

// Write is called with the bytes as they come.
func (s *stream) Write(p []byte) (int, error) {
	n := len(p)
	if !s.begun {
		return 0, errors.New("bytes before their place in the file is known")
	}
	if s.skip > 0 {
		drop := min(s.skip, int64(n))
		s.prefix.Write(p[:drop])
		s.skip -= drop
		s.dropped += drop
		p = p[drop:]
		if s.skip == 0 && !bytes.Equal(s.prefix.Sum(nil), s.want) {
			return 0, fmt.Errorf("the first %d bytes are others than those held: %w", s.dropped, ErrChanged)
		}
	}
	if s.file.Size >= 0 && s.held+int64(len(p)) > s.file.Size {
		return 0, fmt.Errorf("server sends more than %d bytes: %w", s.file.Size, ErrCorrupt)
	}
	if len(p) > 0 {
		// A slow disk is not a slow server.
		s.stall.timer.Stop()
		m, err := s.w.Write(p)
		if err == nil && m < len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			s.broken = err
			return 0, err
		}
		s.sum.Write(p)
		s.held += int64(len(p))
		if s.puller.Progress != nil {
			s.puller.Progress(scheme(s.source), s.held, s.file.Size)
		}
	}
	s.stall.reset()
	return n, nil
}

// takeAll writes all that r has.
func (s *stream) takeAll(r io.Reader) error {
	// The wrappers keep io from going around the buffer by ReadFrom and WriteTo.
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{r}, make([]byte, 128<<10))
	return err
}

// end judges a transfer that the server called complete.
func (s *stream) end() error {
	switch {
	case s.skip > 0:
		return fmt.Errorf("server has %d bytes, %d are held: %w", s.dropped, s.held, ErrChanged)
	case s.file.Size < 0 || s.held == s.file.Size:
		return nil
	case s.size == s.file.Size:
		// The server has them all, so they were lost on the way.
		return fmt.Errorf("ended after %d of %d bytes: %w", s.held, s.file.Size, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("server has %d bytes, want %d: %w", s.held, s.file.Size, ErrCorrupt)
}

// A watchdog ends a context when it was not reset for a while.
type watchdog struct {
	timer  *time.Timer
	after  time.Duration
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, after time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{after: after, cancel: cancel, timer: time.AfterFunc(after, func() {
		cancel(fmt.Errorf("no byte moved for %v", after))
	})}
}

func (w *watchdog) reset() { w.timer.Reset(w.after) }

func (w *watchdog) end() {
	w.timer.Stop()
	w.cancel(nil)
}
