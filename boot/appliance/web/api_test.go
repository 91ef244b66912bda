package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/access"
)

var mac = boot.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func TestMachines(t *testing.T) {
	f := start(t, nil)
	if _, body := f.do("GET", "/api/machines"); body != "[]\n" {
		t.Errorf("no machines: %q", body)
	}
	f.post("token of bj", boot.Report{Boot: "b", Job: "j", Events: []boot.Event{
		{Kind: boot.KindStart, Session: "1"}, {Kind: boot.KindWrite, Bytes: 37, Total: 100, Session: "2"},
	}})
	var rows []boot.Row
	res, body := f.do("GET", "/api/machines")
	if err := json.Unmarshal([]byte(body), &rows); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatal(err, body)
	}
	if len(rows) != 1 || rows[0].Status != "flashing 37 %" || rows[0].Last.Bytes != 37 || rows[0].Events != nil || rows[0].MACs[0] != mac {
		t.Errorf("rows are %s", body)
	}
	for _, name := range []string{rows[0].ID, mac.String(), mac.Hyphens()} {
		f.run(name, func(t *testing.T) {
			var row boot.Row
			if _, body := f.do("GET", "/api/machines/"+name); json.Unmarshal([]byte(body), &row) != nil || row.ID != rows[0].ID || len(row.Events) != 2 {
				t.Errorf("%s is %s", name, body)
			}
		})
	}
	for _, path := range []string{"/api/machines/none", "/api/machines/00:00:00:00:00:00", "/api/", "/api/machines/x/y"} {
		f.run(path, func(t *testing.T) {
			if res, _ := f.do("GET", path); res.StatusCode != 404 {
				t.Errorf("%s: %s", path, res.Status)
			}
		})
	}
	if res, body := f.do("GET", "/healthz"); res.StatusCode != 200 || body != "ok\n" {
		t.Errorf("healthz: %s %q", res.Status, body)
	}
}

// A stream reads server-sent events.
type stream struct {
	io.Closer
	*bufio.Scanner
}

func (f *fixture) follow(query, lastID string) *stream {
	f.t.Helper()
	req, _ := http.NewRequest("GET", f.url+"/api/events"+query, nil)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := noRedirect.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("follow: %s %v", res.Status, res.Header)
	}
	f.t.Cleanup(func() { res.Body.Close() })
	return &stream{res.Body, bufio.NewScanner(res.Body)}
}

func (s *stream) next(t *testing.T) (ev boot.Event) {
	t.Helper()
	for s.Scan() {
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &ev); err != nil {
				t.Fatal(err)
			}
			return ev
		}
	}
	t.Fatalf("stream ended: %v", s.Err())
	return ev
}

func TestEvents(t *testing.T) {
	f := start(t, nil)
	add := func(s string) { f.Journal.Add(boot.Event{Kind: boot.KindDHCP, Text: s}) }
	for _, s := range []string{"1", "2", "3"} {
		add(s)
	}
	fresh, all, some := f.follow("", ""), f.follow("?since=0", ""), f.follow("?since=0", "2")
	restarted := f.follow("?since=1000", "")
	add("4")
	for name, tt := range map[string]struct {
		s    *stream
		want []string
	}{
		"new ones":                 {fresh, []string{"4"}},
		"all":                      {all, []string{"1", "2", "3", "4"}},
		"after Last-Event-ID":      {some, []string{"3", "4"}},
		"counted before a restart": {restarted, []string{"1", "2", "3", "4"}},
	} {
		f.run(name, func(t *testing.T) {
			for _, want := range tt.want {
				if ev := tt.s.next(t); ev.Text != want || fmt.Sprint(ev.Seq) != want {
					t.Errorf("%s: got %q (seq %d), want %q", name, ev.Text, ev.Seq, want)
				}
			}
		})
	}
	if res, _ := f.do("GET", "/api/events?since=x"); res.StatusCode != 400 {
		t.Errorf("since=x: %s", res.Status)
	}
	f.stop()
	if fresh.Scan(); fresh.Scan() && fresh.Text() != "" {
		t.Errorf("after the end the stream says %q", fresh.Text())
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	f := start(t, nil)
	s := f.follow("", "")
	for range maxHostStreams - 1 {
		f.follow("", "")
	}
	if res, _ := f.do("GET", "/api/events"); res.StatusCode != 503 {
		t.Errorf("one stream too many: %s", res.Status)
	}
	s.Close()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if host := netip.MustParseAddr("127.0.0.1"); f.streams.Take(host) {
			f.streams.Release(host)
			return
		}
	}
	t.Error("a stream that was closed still counts")
}

// order posts an order, and returns status and body.
func (f *fixture) order(t *testing.T, c *http.Client, path, auth, cookie, body string) (int, string) {
	t.Helper()
	req, _ := http.NewRequest("POST", f.url+"/api/machines/"+path, strings.NewReader(body))
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if cookie != "" {
		req.Header.Set("Cookie", "token="+cookie)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(raw)
}

func TestControl(t *testing.T) {
	type asked struct {
		id        string
		action    boot.Action
		overwrite bool
	}
	var got []asked
	var fail error
	f := start(t, func(s *Server) {
		s.Control = func(_ context.Context, id string, order boot.Order) error {
			got = append(got, asked{id, order.Action, order.Overwrite})
			return fail
		}
	})
	m, err := f.Registry.Identify(t.Context(), boot.Facts{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.sock)
	}}}
	for _, tt := range []struct {
		name               string
		c                  *http.Client
		path, auth, cookie string
		body               string
		status             int
		want               *asked
	}{
		{"overwrite", unix, mac.String() + "/flash", "", "", `{"overwrite":true}`, 204, &asked{m.ID, boot.ActionFlash, true}},
		{"by id", unix, m.ID + "/flash", "", "", `{}`, 204, &asked{m.ID, boot.ActionFlash, false}},
		{"local", unix, m.ID + "/local", "", "", ``, 204, &asked{m.ID, boot.ActionLocal, false}},
		{"by TCP with the token", noRedirect, m.ID + "/flash", "Bearer control token", "", `{}`, 204, &asked{m.ID, boot.ActionFlash, false}},
		{"by TCP without", noRedirect, m.ID + "/flash", "", "", `{}`, 401, nil},
		{"a wrong token", noRedirect, m.ID + "/flash", "Bearer wrong", "", `{}`, 401, nil},
		{"an empty token", noRedirect, m.ID + "/flash", "Bearer ", "", `{}`, 401, nil},
		{"another scheme", noRedirect, m.ID + "/flash", "Basic control token", "", `{}`, 401, nil},
		{"a cookie", noRedirect, m.ID + "/flash", "", "control token", `{}`, 401, nil},
		{"no machine, and no token", noRedirect, "none/flash", "", "", `{}`, 401, nil},
		{"no machine", unix, "none/flash", "", "", `{}`, 404, nil},
		{"an unknown key", unix, m.ID + "/flash", "", "", `{"overwrit":true}`, 400, nil},
		{"a value of another type", unix, m.ID + "/flash", "", "", `{"overwrite":"yes"}`, 400, nil},
		{"an unknown action", unix, m.ID + "/boil", "", "", `{}`, 405, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			status, body := f.order(t, tt.c, tt.path, tt.auth, tt.cookie, tt.body)
			if status != tt.status || (tt.want == nil) != (len(got) == 0) || tt.want != nil && got[0] != *tt.want {
				t.Errorf("%d %q, asked %v; want %d %v", status, body, got, tt.status, tt.want)
			}
		})
	}
	fail = errors.New("open /var/lib/x: broken")
	if status, body := f.order(t, unix, m.ID+"/flash", "", "", `{}`); status != 500 || strings.Contains(body, "/var") {
		t.Errorf("error of Control: %d %q", status, body)
	}
	f.stop()
	if !strings.Contains(f.log.String(), "open /var/lib/x: broken") {
		t.Errorf("log is %s", f.log)
	}
}

func TestNoTokenMeansNoControlOverTCP(t *testing.T) {
	f := start(t, func(s *Server) { s.MayOrder = new(access.Rules).MayOrder })
	for _, auth := range []string{"Bearer ", "Bearer", "Bearer x"} {
		f.run(auth, func(t *testing.T) {
			if res, _ := f.do("POST", "/api/machines/x/flash", "Authorization", auth); res.StatusCode != 401 {
				t.Errorf("%q: %s", auth, res.Status)
			}
		})
	}
}

// A long journal and a list of many machines are sent whole, though neither is
// in memory whole.
func TestLongAnswers(t *testing.T) {
	const machines = 300
	f := start(t, nil)
	for i := range machines {
		m, err := f.Registry.Identify(t.Context(), boot.Facts{MAC: boot.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		f.Journal.Add(boot.Event{Kind: boot.KindDHCP, Machine: m.ID, Text: "one"})
		f.Journal.Add(boot.Event{Kind: boot.KindDHCP, Machine: m.ID, Text: "two"})
	}
	var rows []boot.Row
	if _, body := f.do("GET", "/api/machines"); json.Unmarshal([]byte(body), &rows) != nil || len(rows) != machines || rows[0].Last == nil || rows[0].Last.Text != "two" {
		t.Errorf("%d of %d machines: %.300s", len(rows), machines, body)
	}
	s := f.follow("?since=0", "")
	for i := range f.Journal.Last() {
		if ev := s.next(t); ev.Seq != i+1 {
			t.Fatalf("event %d came where %d was due", ev.Seq, i+1)
		}
	}
}
