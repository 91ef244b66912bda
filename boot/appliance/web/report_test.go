package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// post sends a report as a device does, and returns the status.
func (f *fixture) post(token string, body any) int {
	f.t.Helper()
	raw, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		raw = string(b)
	}
	req, _ := http.NewRequest("POST", f.url+"/api/machines/"+mac.Hyphens()+"/events", strings.NewReader(raw))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := noRedirect.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func events(first, n int, kind boot.Kind) (evs []boot.Event) {
	for i := range n {
		evs = append(evs, boot.Event{Kind: kind, Session: fmt.Sprint(first + i), Text: fmt.Sprint(first + i)})
	}
	return evs
}

func (f *fixture) texts() (all []string) {
	for _, ev := range f.Journal.Since(0, math.MaxInt) {
		all = append(all, ev.Text)
	}
	return all
}

func TestReport(t *testing.T) {
	var reported []string
	f := start(t, func(s *Server) {
		s.Reported = func(_ context.Context, id string, ev boot.Event) error {
			reported = append(reported, ev.Text)
			return nil
		}
	})
	began := time.Now()
	mine := boot.Event{
		Seq: 77, Time: time.Unix(1, 0), Machine: "another", MAC: boot.MAC{9}, Boot: "other", Job: "other", Kind: boot.KindDone,
		Text: "all\nwell", Bytes: 3, Total: 4, Took: time.Second, Uptime: time.Minute, Disk: "QM1", Image: "lab", Digest: "d", Session: "1",
	}
	if got := f.post("token of bj", boot.Report{Boot: "b", Job: "j", Events: []boot.Event{mine}}); got != 204 {
		t.Fatalf("status %d", got)
	}
	m, err := f.Registry.Find(t.Context(), mac.String())
	if err != nil {
		t.Fatal(err)
	}
	got := f.Journal.Machine(m.ID)
	if len(got) != 1 || got[0].Time.Before(began.Truncate(time.Second)) || got[0].Time.After(time.Now()) {
		t.Fatalf("journal has %+v", got)
	}
	want := mine
	want.Seq, want.Time, want.Machine, want.MAC, want.Boot, want.Job, want.Text = 1, got[0].Time, m.ID, mac, "b", "j", "all?well"
	if got[0] != want {
		t.Errorf("journal has %+v, want %+v", got[0], want)
	}

	// Repeated and overlapping events, and those of another boot.
	f.post("token of bj", boot.Report{Boot: "b", Job: "j", Events: []boot.Event{mine}})
	f.post("token of bj", boot.Report{Boot: "b", Job: "j", Events: events(1, 3, boot.KindStart)})
	f.post("token of cj", boot.Report{Boot: "c", Job: "j", Events: events(1, 1, boot.KindStart)})
	f.post("token of cj", boot.Report{Boot: "c", Job: "j", Events: make([]boot.Event, 0)})
	if want := []string{"all?well", "2", "3", "1"}; !reflect.DeepEqual(f.texts(), want) {
		t.Errorf("journal has %q, want %q", f.texts(), want)
	}
	if want := []string{"all?well", "2", "3", "1"}; !reflect.DeepEqual(reported, want) {
		t.Errorf("reported %q, want %q", reported, want)
	}
}

func TestReportedErrorMakesTheDeviceSendAgain(t *testing.T) {
	fail := true
	calls := 0
	f := start(t, func(s *Server) {
		s.Reported = func(_ context.Context, _ string, ev boot.Event) error {
			calls++
			if fail && ev.Session == "2" {
				return errors.New("disk /secret/path is full")
			}
			return nil
		}
	})
	rep := boot.Report{Boot: "b", Job: "j", Events: events(1, 3, boot.KindDone)}
	if got := f.post("token of bj", rep); got != 500 {
		t.Errorf("status %d, want 500", got)
	}
	if want := []string{"1"}; !reflect.DeepEqual(f.texts(), want) {
		t.Errorf("journal has %q, want %q", f.texts(), want)
	}
	fail = false
	if got := f.post("token of bj", rep); got != 204 {
		t.Errorf("status %d, want 204", got)
	}
	if want := []string{"1", "2", "3"}; !reflect.DeepEqual(f.texts(), want) || calls != 4 {
		t.Errorf("journal has %q after %d calls, want %q after 4", f.texts(), calls, want)
	}
}

func TestReportRefused(t *testing.T) {
	f := start(t, nil)
	good := boot.Report{Boot: "b", Job: "j", Events: events(1, 1, boot.KindDone)}
	m, err := f.Registry.Identify(t.Context(), boot.Facts{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	again := func() int { return int(time.Since(began) / refusedEvery) } // notes that are due once more
	for _, token := range []string{"", "wrong", "token of bk", "Token of bj"} {
		f.run("token "+token, func(t *testing.T) {
			for range 5 {
				if got := f.post(token, good); got != 403 {
					t.Errorf("token %q: status %d", token, got)
				}
			}
		})
	}
	all := f.Journal.Since(0, math.MaxInt)
	if len(all) < 1 || len(all) > 1+again() || all[0].Kind != boot.KindRefused || all[0].MAC != mac || all[0].Machine != m.ID || !strings.Contains(all[0].Text, "127.0.0.1") {
		t.Errorf("journal has %+v, want one note", all)
	}
	for i := range 50 {
		// Unknown MACs share one note.
		req, _ := http.NewRequest("POST", fmt.Sprintf("%s/api/machines/02:00:00:00:00:%02x/events", f.url, i), strings.NewReader(`{}`))
		res, err := noRedirect.Do(req)
		if err != nil || res.StatusCode != 403 {
			t.Fatal(res, err)
		}
		res.Body.Close()
	}
	if n := len(f.Journal.Since(0, math.MaxInt)); n < 2 || n > 2+2*again() {
		t.Errorf("%d notes, want 2", n)
	}
	if all, _ := f.Registry.List(t.Context()); len(all) != 1 {
		t.Errorf("strangers made machines: %+v", all)
	}
}

func TestReportBad(t *testing.T) {
	f := start(t, nil)
	bad := func(ev boot.Event) boot.Report {
		return boot.Report{Boot: "b", Job: "j", Events: append(events(1, 1, boot.KindDone), ev)}
	}
	for name, tt := range map[string]struct {
		body any
		want int
	}{
		"no JSON":           {"{", 400},
		"empty":             {"", 400},
		"a list":            {"[]", 400},
		"appliance's kind":  {bad(boot.Event{Kind: boot.KindDHCP}), 400},
		"refused":           {bad(boot.Event{Kind: boot.KindRefused}), 400},
		"no kind":           {bad(boot.Event{}), 400},
		"negative":          {bad(boot.Event{Kind: boot.KindWrite, Bytes: -1}), 400},
		"long session":      {bad(boot.Event{Kind: boot.KindWrite, Session: strings.Repeat("1", maxSession+1)}), 400},
		"events of strings": {`{"boot":"b","job":"j","events":["x"]}`, 400},
		"too many events":   {boot.Report{Boot: "b", Job: "j", Events: events(1, MaxEvents+1, boot.KindDone)}, 400},
		"too large":         {`{"boot":"` + strings.Repeat("b", boot.MaxReport) + `"}`, 413},
	} {
		f.run(name, func(t *testing.T) {
			token := "token of bj"
			if got := f.post(token, tt.body); got != tt.want {
				t.Errorf("%s: status %d, want %d", name, got, tt.want)
			}
		})
	}
	if all := f.Journal.Since(0, math.MaxInt); len(all) != 0 {
		t.Errorf("journal has %+v", all)
	}
	if res, _ := f.do("POST", "/api/machines/nonsense/events"); res.StatusCode != 400 {
		t.Errorf("no MAC: %s", res.Status)
	}
}

func TestConcurrentReportsAreOne(t *testing.T) {
	f := start(t, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got := f.post("token of bj", boot.Report{Boot: "b", Job: "j", Events: events(1, 20, boot.KindStart)}); got != 204 {
				t.Errorf("status %d", got)
			}
		})
	}
	wg.Wait()
	if n := len(f.Journal.Since(0, math.MaxInt)); n != 20 {
		t.Errorf("%d events, want 20", n)
	}
}

func TestWhatIsRememberedOfReportsIsBounded(t *testing.T) {
	p := newReports(nil)
	for i := range 2 * maxBoots {
		b := p.sessionsOf(fmt.Sprint(i))
		for j := range 2 * maxSessions {
			if i < 2 {
				b.remember(fmt.Sprint(j))
			}
		}
		if i < 2 && (len(b.seen) != maxSessions || len(b.inOrder) != maxSessions || b.seenBefore("0") || !b.seenBefore(fmt.Sprint(2*maxSessions-1))) {
			t.Errorf("%d sessions are remembered, %d listed", len(b.seen), len(b.inOrder))
		}
		p.sessionsOf("busy").remember("x")
	}
	if p.boots.Len() != maxBoots || !p.sessionsOf("busy").seenBefore("x") {
		t.Errorf("%d boots", p.boots.Len())
	}
	now := time.Now()
	n := 0
	for i := range 1000 {
		if p.mayNote(boot.MAC{byte(i >> 8), byte(i)}, now) {
			n++
		}
	}
	if n != maxRefused {
		t.Errorf("%d notes at once, want %d", n, maxRefused)
	}
	if !p.mayNote(boot.MAC{}, now.Add(refusedEvery)) || len(p.refused) != 1 {
		t.Errorf("later: %d are remembered", len(p.refused))
	}
}
