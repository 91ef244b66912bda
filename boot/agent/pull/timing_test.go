package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// timed runs f in a bubble, where time passes only while all sleep, with a
// protocol of the test's own: the sources of scheme test: are served by get.
// It must not run beside other tests, which read the table of protocols.
func timed(t *testing.T, get func(ctx context.Context, s *stream) error, f func(t *testing.T, p *Puller, changes *[]Attempt)) {
	table := protocols
	defer func() { protocols = table }()
	protocols = []protocol{{scheme: "test", get: func(ctx context.Context, _ *url.URL, s *stream) error { return get(ctx, s) }}}
	synctest.Test(t, func(t *testing.T) {
		p, changes := puller(t, "test://a/", "test://b/")
		p.Timing = DefaultTiming
		f(t, p, changes)
	})
}

var errGone = errors.New("gone")

// A pull without a new byte ends between GiveUp - MaxBackoff and
// GiveUp + 2n × Stall after the last one.
func TestGiveUp(t *testing.T) {
	part := content(100_000, 4)
	first := func(s *stream) error { // all that ever comes
		s.begin(s.held)
		if s.held > 0 {
			return errGone
		}
		_, err := s.Write(part)
		return err
	}
	d := DefaultTiming
	for _, tt := range []struct {
		name        string
		get         func(ctx context.Context, s *stream) error
		least, most time.Duration
		why         string
		attempts    int // at least
	}{
		{"sources that refuse", func(_ context.Context, s *stream) error { return errors.Join(first(s), errGone) },
			d.GiveUp - d.MaxBackoff, d.GiveUp, "gone", 2 * int(d.GiveUp/d.MaxBackoff)},
		{"sources that are silent", func(ctx context.Context, s *stream) error {
			first(s)
			<-ctx.Done()
			return ctx.Err()
		}, d.GiveUp - d.MaxBackoff, d.GiveUp + 2*2*d.Stall, "no byte moved for 15s", 2 * int(d.GiveUp/(d.MaxBackoff+2*d.Stall))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timed(t, tt.get, func(t *testing.T, p *Puller, changes *[]Attempt) {
				var got bytes.Buffer
				began := time.Now()
				err := p.Fetch(t.Context(), File{Name: "image", Size: 300_000}, &got)
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("gave up after %v, want %v to %v", took, tt.least, tt.most)
				}
				if err == nil || !strings.Contains(err.Error(), "no new byte for") || !strings.Contains(err.Error(), "test: "+tt.why) {
					t.Errorf("error %v", err)
				}
				if len(*changes) < tt.attempts || !bytes.Equal(got.Bytes(), part) {
					t.Errorf("%d attempts, %d bytes", len(*changes), got.Len())
				}
			})
		})
	}
}

// A silent source is left after Stall exactly, and the next one carries on.
func TestStall(t *testing.T) {
	want := content(1000, 5)
	get := func(ctx context.Context, s *stream) error {
		s.begin(s.held)
		if strings.HasSuffix(s.source, "b/") {
			_, err := s.Write(want[s.held:])
			return err
		}
		for _, b := range want[:10] { // slow, and not silent
			time.Sleep(DefaultTiming.Stall - 1)
			if _, err := s.Write([]byte{b}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
	timed(t, get, func(t *testing.T, p *Puller, changes *[]Attempt) {
		var got bytes.Buffer
		if err := p.Fetch(t.Context(), file("image", want), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%d bytes, %v", got.Len(), err)
		}
		c := *changes
		if len(c) != 2 || c[0].To != 10 || c[0].Took != 10*(DefaultTiming.Stall-1)+DefaultTiming.Stall || c[1].From != 10 || c[1].Took != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// With all sources gone it waits longer and longer, and a new byte sets the
// wait back.
func TestRounds(t *testing.T) {
	want := content(1000, 6)
	var at []time.Time // when each round began
	get := func(_ context.Context, s *stream) error {
		if strings.HasSuffix(s.source, "b/") {
			return errGone
		}
		at = append(at, time.Now())
		s.begin(s.held)
		switch len(at) {
		case 8: // after seven in vain
			s.Write(want[:1])
		case 10:
			_, err := s.Write(want[1:])
			return err
		}
		return errGone
	}
	timed(t, get, func(t *testing.T, p *Puller, changes *[]Attempt) {
		var got bytes.Buffer
		if err := p.Fetch(t.Context(), file("image", want), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%d bytes, %v", got.Len(), err)
		}
		for i, longest := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 1, 2} {
			longest *= time.Second
			if wait := at[i+1].Sub(at[i]); wait < longest/2 || wait > longest {
				t.Errorf("round %d begins %v after the one before, want %v to %v", i+2, wait, longest/2, longest)
			}
		}
	})
}

// A disk that takes longer than a server may is not the server's fault. TFTP is
// another matter: its server waits for each acknowledgement, and not for long.
func TestSlowWriter(t *testing.T) {
	want := content(500_000, 10)
	get := func(_ context.Context, s *stream) error {
		s.begin(s.held)
		return s.takeAll(bytes.NewReader(want[s.held:]))
	}
	timed(t, get, func(t *testing.T, p *Puller, changes *[]Attempt) {
		w := new(slow)
		if err := p.Fetch(t.Context(), file("image", want), w); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.Bytes(), want) || len(*changes) != 1 {
			t.Errorf("%d bytes: %+v", w.Len(), *changes)
		}
	})
}

// slow is a disk that takes longer for each piece than a server may be silent.
type slow struct{ bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(2 * DefaultTiming.Stall)
	return s.Buffer.Write(p)
}

// The end of ctx ends a wait between two rounds at once.
func TestCancelBetweenRounds(t *testing.T) {
	timed(t, func(context.Context, *stream) error { return errGone }, func(t *testing.T, p *Puller, _ *[]Attempt) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, fmt.Errorf("enough: %w", context.Canceled))
		defer cancel()
		began := time.Now()
		err := p.Fetch(ctx, File{Name: "image", Size: 1}, new(bytes.Buffer))
		if !errors.Is(err, context.Canceled) || time.Since(began) != 10*time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// The arithmetic of Timing's comment.
func TestTiming(t *testing.T) {
	d := DefaultTiming
	if got := 3*d.Stall + d.MaxBackoff; got != 75*time.Second {
		t.Errorf("a silent outage costs %v after it, the comment says 75 s", got)
	}
	rto := time.Duration(0)
	for r := 200 * time.Millisecond; r <= 6400*time.Millisecond; r *= 2 {
		rto += r
	}
	if d.Stall <= rto {
		t.Errorf("stall %v is within TCP's own silence of %v", d.Stall, rto)
	}
	if d.GiveUp < 2*time.Minute+3*d.Stall+d.MaxBackoff {
		t.Errorf("gives up after %v, before an appliance has rebooted", d.GiveUp)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		want *= time.Second
		if got := d.longest(i + 1); got != want {
			t.Errorf("longest wait %d is %v, want %v", i+1, got, want)
		}
		for range 100 {
			if got := d.wait(i + 1); got < want/2 || got > want {
				t.Errorf("wait %d is %v, want %v to %v", i+1, got, want/2, want)
			}
		}
	}
	if got := d.longest(1 << 20); got != d.MaxBackoff {
		t.Errorf("after very many rounds %v", got)
	}
}

// What is zero is the default's, field by field.
func TestTimingDefaults(t *testing.T) {
	got := Timing{Stall: time.Second, GiveUp: -1}.orDefaults()
	if want := (Timing{time.Second, DefaultTiming.Backoff, DefaultTiming.MaxBackoff, -1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
