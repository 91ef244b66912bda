package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// A sink takes reports as an appliance does.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []boot.Event
	tokens []string
	held   chan struct{} // a POST waits here where it is not nil
	bad    string        // a POST with an event of this text is answered 400
}

func newSink(t *testing.T) *sink {
	s := &sink{status: http.StatusNoContent}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var rep boot.Report
		if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
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
	}))
	t.Cleanup(s.Close)
	return s
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
	return &boot.Plan{Machine: "m", MAC: boot.MAC{2, 0, 0, 0, 0, 1}, Boot: "b", Job: "j", Report: s.URL + "/", Token: "t1"}
}

func newTestReporter(t *testing.T) *Reporter {
	r := newReporter(slog.New(slog.DiscardHandler), quick, "b")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; r.http.CloseIdleConnections() })
	return r
}

func TestReporterBuffersAndKeepsOrder(t *testing.T) {
	s := newSink(t)
	r := newTestReporter(t)
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
	time.Sleep(3 * quick.ReportMax)
	if got := s.texts(); len(got) > 0 {
		t.Fatalf("acknowledged: %q", got)
	}
	s.answer(204)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Deliver(ctx, boot.Event{Kind: boot.KindDone, Text: "done"}); err != nil {
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
}

func TestReporterServerIsDown(t *testing.T) {
	s := newSink(t)
	r := newTestReporter(t)
	p := s.plan()
	s.Close()
	r.use(p)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := r.Deliver(ctx, boot.Event{Kind: boot.KindDone}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	up := newSink(t) // elsewhere, by another plan; what was not heard is sent there
	r.use(up.plan())
	if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "two"}); err != nil {
		t.Fatal(err)
	}
	if got := up.texts(); !slices.Equal(got, []string{"", "two"}) {
		t.Errorf("got %q", got)
	}
}

func TestReporterRefused(t *testing.T) {
	s := newSink(t)
	r := newTestReporter(t)
	s.answer(403)
	r.use(s.plan())
	if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone, Text: "one"}); !errors.Is(err, errRefused) {
		t.Fatalf("error %v, want errRefused", err)
	}
	s.answer(204)
	time.Sleep(2 * quick.ReportMax)
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
}

// An event that the appliance cannot read is lost alone, blocks nothing, and
// is not taken for acknowledged.
func TestReporterBadEvents(t *testing.T) {
	s := newSink(t)
	r := newTestReporter(t)
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
}

func TestReporterNowhere(t *testing.T) {
	r := newTestReporter(t)
	r.use(&boot.Plan{})
	if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone}); err != nil {
		t.Errorf("nobody wants to hear it, but: %v", err)
	}
	r.use(&boot.Plan{Report: "://no URL"})
	if err := r.Deliver(t.Context(), boot.Event{Kind: boot.KindDone}); !errors.Is(err, errRefused) {
		t.Errorf("error %v, want errRefused", err)
	}
}

// Progress is bounded: once a second, and on a slow link the newest alone.
func TestReporterCoalescesProgress(t *testing.T) {
	s := newSink(t)
	s.held = make(chan struct{})
	r := newTestReporter(t)
	r.use(s.plan())
	r.Report(boot.Event{Kind: boot.KindStart, Text: "start"})
	write := func(text string) {
		r.mu.Lock()
		r.wrote = time.Now().Add(-time.Second)
		r.mu.Unlock()
		r.Report(boot.Event{Kind: boot.KindWrite, Text: text})
	}
	for { // until the first POST is on its way, and waits
		r.mu.Lock()
		flying := r.inFlight
		r.mu.Unlock()
		if flying == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for i := range 50 {
		write(fmt.Sprint("write ", i))
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
