package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
)

// A sink takes reports as an appliance does. It and its reporter live in a
// synctest bubble, with the timing of real hardware and connections in memory.
type sink struct {
	t      *testing.T
	memory *nettest.Memory

	mu     sync.Mutex
	status int
	got    []boot.Event
	tokens []string
	posts  []time.Duration // when each POST came, since the sink began
	began  time.Time
	held   chan struct{} // a POST waits here where it is not nil
	bad    string        // a POST with an event of this text is answered 400
}

// newSink serves until the test ends.
func newSink(t *testing.T) *sink {
	s := &sink{t: t, memory: nettest.NewMemory(), status: http.StatusNoContent, began: time.Now()}
	srv := &http.Server{Handler: s}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(s.memory) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var rep boot.Report
	if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.posts = append(s.posts, time.Since(s.began))
	held := s.held
	s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad != "" && slices.ContainsFunc(rep.Events, func(ev boot.Event) bool { return ev.Text == s.bad }) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if s.status/100 == 2 {
		s.got = append(s.got, rep.Events...)
		s.tokens = append(s.tokens, r.Header.Get("Authorization"))
	}
	w.WriteHeader(s.status)
}

func (s *sink) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// texts are those of the events that were acknowledged.
func (s *sink) texts() (texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.got {
		texts = append(texts, ev.Text)
	}
	return texts
}

func (s *sink) plan() *boot.Plan {
	return &boot.Plan{Machine: "m", MAC: boot.MAC{2, 0, 0, 0, 0, 1}, Boot: "b", Job: "j", Report: "http://appliance/", Token: "t1"}
}

// newTestReporter reports to s until the test ends.
func newTestReporter(t *testing.T, s *sink) *Reporter {
	r := newReporter(slog.New(slog.DiscardHandler), DefaultTiming, "b")
	reach(r, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; r.http.CloseIdleConnections() })
	return r
}

// reach makes s the end of the reporter's connections to come.
func reach(r *Reporter, s *sink) {
	r.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.memory.Dial(ctx, netip.MustParseAddrPort("192.0.2.9:1024"))
	}
}

func TestReporterBuffersAndKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		r := newTestReporter(t, s)
		var want []string
		add := func(n int) {
			for range n {
				text := fmt.Sprint("event ", len(want))
				want = append(want, text)
				r.Report(boot.Event{Kind: boot.KindPull, Text: text})
			}
		}
		add(3) // before there is a plan
		s.answer(503)
		r.use(s.plan())
		add(100)
		time.Sleep(3 * DefaultTiming.ReportMax)
		if got := s.texts(); len(got) > 0 {
			t.Fatalf("acknowledged: %q", got)
		}
		s.answer(204)
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "done"}); err != nil {
			t.Fatal(err)
		}
		if got := s.texts(); !slices.Equal(got, append(want, "done")) {
			t.Errorf("got %q", got)
		}
		for i, ev := range s.got {
			if ev.Session != fmt.Sprint(i+1) || ev.Boot != "b" || ev.Uptime <= 0 {
				t.Errorf("event %d: %+v", i, ev)
			}
		}
	})
}

// Between two tries there are 1, 2, 4, 8 and then 15 s, or half of that.
func TestReporterRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		r := newTestReporter(t, s)
		s.answer(503)
		r.use(s.plan())
		r.Report(boot.Event{Kind: boot.KindStart})
		time.Sleep(time.Hour)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, longest := range []time.Duration{1, 2, 4, 8, 15, 15, 15} {
			longest *= time.Second
			if got := s.posts[i+1] - s.posts[i]; got < longest/2 || got > longest {
				t.Errorf("try %d comes %v after the one before, want %v to %v", i+2, got, longest/2, longest)
			}
		}
		if least, n := int(time.Hour/DefaultTiming.ReportMax), len(s.posts); n < least || n > 2*least+5 {
			t.Errorf("%d tries in an hour", n)
		}
	})
}

// An appliance that takes a report and falls silent has Timing.Post to answer.
func TestReporterSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		s.held = make(chan struct{})
		r := newTestReporter(t, s)
		r.use(s.plan())
		r.Report(boot.Event{Kind: boot.KindStart})
		time.Sleep(DefaultTiming.Post + DefaultTiming.Report)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.posts) != 2 || s.posts[1] < DefaultTiming.Post+DefaultTiming.Report/2 {
			t.Errorf("tried at %v, want a second try after %v", s.posts, DefaultTiming.Post)
		}
	})
}

func TestReporterServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		r := newTestReporter(t, s)
		s.memory.Close()
		r.use(s.plan())
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Deliver(ctx, boot.Event{Kind: boot.KindDone}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		up := newSink(t) // elsewhere, by another plan; what was not heard is sent there
		reach(r, up)
		r.use(up.plan())
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "two"}); err != nil {
			t.Fatal(err)
		}
		if got := up.texts(); !slices.Equal(got, []string{"", "two"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestReporterRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		r := newTestReporter(t, s)
		s.answer(403)
		r.use(s.plan())
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "one"}); !errors.Is(err, errRefused) {
			t.Fatalf("error %v, want errRefused", err)
		}
		s.answer(204)
		time.Sleep(time.Hour)
		if got := s.texts(); len(got) > 0 {
			t.Errorf("a refused token was tried again: %q", got)
		}
		p := s.plan()
		p.Token = "t2"
		r.use(p)
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "two"}); err != nil {
			t.Fatal(err)
		}
		if got := s.texts(); !slices.Equal(got, []string{"one", "two"}) || s.tokens[0] != "Bearer t2" {
			t.Errorf("got %q with %q", got, s.tokens)
		}
	})
}

// An event that the appliance cannot read is lost alone, blocks nothing, and
// is not taken for acknowledged.
func TestReporterBadEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		r := newTestReporter(t, s)
		s.bad = "bad"
		var want []string
		for i := range 5 {
			r.Report(boot.Event{Kind: boot.KindPull, Text: fmt.Sprint("before ", i)})
			want = append(want, fmt.Sprint("before ", i))
		}
		r.Report(boot.Event{Kind: "nonsense", Text: "bad"})
		r.use(s.plan())
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "good"}); err != nil {
			t.Fatal(err)
		}
		if got := s.texts(); !slices.Equal(got, append(want, "good")) {
			t.Errorf("got %q", got)
		}
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "bad"}); !errors.Is(err, errRefused) {
			t.Errorf("an event that the appliance could not read: %v", err)
		}
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "good again"}); err != nil {
			t.Error(err)
		}
	})
}

func TestReporterNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestReporter(t, newSink(t))
		r.use(&boot.Plan{})
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone}); err != nil {
			t.Errorf("nobody wants to hear it, but: %v", err)
		}
		r.use(&boot.Plan{Report: "://no URL"})
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone}); !errors.Is(err, errRefused) {
			t.Errorf("error %v, want errRefused", err)
		}
	})
}

// Progress is bounded: once a second, and on a slow link the newest alone.
func TestReporterCoalescesProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		s.held = make(chan struct{})
		r := newTestReporter(t, s)
		r.timing.Post, r.http.Timeout = time.Hour, time.Hour
		r.use(s.plan())
		r.Report(boot.Event{Kind: boot.KindStart, Text: "start"})
		synctest.Wait() // the first POST is on its way, and waits
		for i := range 50 {
			time.Sleep(time.Second)
			r.Report(boot.Event{Kind: boot.KindWrite, Text: fmt.Sprint("write ", i)})
		}
		for range 100 {
			r.Report(boot.Event{Kind: boot.KindWrite, Text: "within the same second"})
		}
		close(s.held)
		if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "done"}); err != nil {
			t.Fatal(err)
		}
		if got, want := s.texts(), []string{"start", "write 49", "done"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestReporterIsBounded(t *testing.T) {
	r := newReporter(slog.New(slog.DiscardHandler), quick, "b")
	r.Report(boot.Event{Kind: boot.KindStart, Text: strings.Repeat("x", 1<<20)})
	r.Report(boot.Event{Kind: boot.KindWrite, Text: "progress"})
	for i := range 2 * maxQueue {
		r.Report(boot.Event{Kind: boot.KindPull, Text: fmt.Sprint(i)})
	}
	if n := len(r.queue); n != maxQueue {
		t.Errorf("%d events wait, want %d", n, maxQueue)
	}
	if last := r.queue[maxQueue-1]; last.Text != fmt.Sprint(2*maxQueue-1) {
		t.Errorf("the newest is %q", last.Text)
	}
	size := 0
	for _, ev := range r.queue {
		size += len(ev.Text)
	}
	if size > maxQueue*maxText {
		t.Errorf("%d bytes of text wait", size)
	}
}

// Progress goes before anything else does.
func TestReporterDropsProgressFirst(t *testing.T) {
	r := newReporter(slog.New(slog.DiscardHandler), quick, "b")
	r.Report(boot.Event{Kind: boot.KindStart, Text: "start"})
	r.Report(boot.Event{Kind: boot.KindWrite, Text: "progress"})
	for range maxQueue - 1 {
		r.Report(boot.Event{Kind: boot.KindPull})
	}
	if len(r.queue) != maxQueue || r.queue[0].Text != "start" || r.queue[1].Kind == boot.KindWrite {
		t.Errorf("%d events, first %+v, %+v", len(r.queue), r.queue[0], r.queue[1])
	}
}
