package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// TestParseLineReadsBackEveryField fills each field of an Event by reflection.
// So a new field cannot be forgotten in the log.
func TestParseLineReadsBackEveryField(t *testing.T) {
	var ev boot.Event
	v := reflect.ValueOf(&ev).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string, boot.Kind:
			f.SetString("x " + v.Type().Field(i).Name)
		case int64, time.Duration:
			f.SetInt(int64(1000 + i))
		case uint64:
			f.SetUint(7)
		case boot.MAC:
			f.Set(reflect.ValueOf(boot.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}))
		case time.Time:
		default:
			t.Fatalf("field %s has a type that this test does not know", v.Type().Field(i).Name)
		}
	}
	var log bytes.Buffer
	want := New(slog.New(slog.NewJSONHandler(&log, nil)), 1).Add(ev)
	got, ok := ParseLine(log.Bytes())
	if !ok || !got.Time.Equal(want.Time) {
		t.Fatalf("ParseLine(%s) = %+v, %v", &log, got, ok)
	}
	got.Time = want.Time // times differ in Location
	if got != want {
		t.Errorf("ParseLine(%s) =\n%+v, want\n%+v", &log, got, want)
	}

	// Except for the text, the line is an Event in JSON.
	var plain boot.Event
	if err := json.Unmarshal(log.Bytes(), &plain); err != nil {
		t.Fatal(err)
	}
	plain.Time, plain.Text = want.Time, want.Text
	if plain != want {
		t.Errorf("unmarshalled %+v, want %+v", plain, want)
	}
}

func TestLogHoldsOnlyWhatIsSet(t *testing.T) {
	var log bytes.Buffer
	New(slog.New(slog.NewJSONHandler(&log, nil)), 1).Add(boot.Event{Kind: boot.KindDHCP, Text: "offered"})
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	want := map[string]any{"level": "INFO", "msg": "offered", "event": true, "seq": 1.0, "kind": "dhcp"}
	if !reflect.DeepEqual(line, want) {
		t.Errorf("line is %v, want %v", line, want)
	}
}

func TestLevels(t *testing.T) {
	for kind, want := range map[boot.Kind]string{
		boot.KindFailed: "ERROR", boot.KindRetry: "WARN", boot.KindRefused: "WARN", boot.KindWrite: "DEBUG+3", boot.KindDone: "INFO",
	} {
		t.Run(string(kind), func(t *testing.T) {
			var log bytes.Buffer
			New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), 1).Add(boot.Event{Kind: kind})
			if !strings.Contains(log.String(), "level="+want) {
				t.Errorf("%s is logged as %s", kind, &log)
			}
		})
	}
	var log bytes.Buffer
	New(slog.New(slog.NewTextHandler(&log, nil)), 1).Add(boot.Event{Kind: boot.KindWrite})
	if log.Len() != 0 {
		t.Errorf("progress is in a log that shows no more than usual: %s", &log)
	}
}

func TestParseLineRefusesOtherLines(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `null`, `[]`, `event`, `{"msg":"listening","addr":":80"}`, `{"event":false,"seq":1}`,
		`{"event":true,"seq":-1}`, `{"event":true,"mac":"x"}`,
	} {
		t.Run(line, func(t *testing.T) {
			if ev, ok := ParseLine([]byte(line)); ok {
				t.Errorf("ParseLine(%s) = %+v", line, ev)
			}
		})
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"offered","event":true,"seq":1,"kind":"dhcp","mac":"52:54:00:12:34:56"}`))
	f.Add([]byte(`{"event":true`))
	f.Fuzz(func(t *testing.T, line []byte) {
		ev, ok := ParseLine(line)
		if !ok && ev != (boot.Event{}) {
			t.Errorf("no event, yet %+v", ev)
		}
	})
}

func TestTextIsFitForALog(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                            "plain",
		"two\nlines\r":                     "two?lines?",
		"\x1b[2J\x00\x7f":                  "?[2J??",
		"schön":                            "schön",
		"\xff\xfe":                         "??",
		"right\u202eleft":                  "right?left",
		strings.Repeat("a", maxText):       strings.Repeat("a", maxText),
		strings.Repeat("a", maxText+1):     strings.Repeat("a", maxText),
		strings.Repeat("a", 511) + "ö":     strings.Repeat("a", 511),
		strings.Repeat("\xff", maxText+10): strings.Repeat("?", maxText),
	} {
		t.Run(fmt.Sprintf("%.20q, %d bytes", in, len(in)), func(t *testing.T) {
			if got := New(quiet(), 1).Add(boot.Event{Text: in}).Text; got != want {
				t.Errorf("text %q became %q, want %q", in, got, want)
			}
		})
	}
	ev := New(quiet(), 1).Add(boot.Event{Disk: "QM\n1", Session: strings.Repeat("s", 1000), File: "a\x00b"})
	if ev.Disk != "QM?1" || len(ev.Session) != maxWord || ev.File != "a?b" {
		t.Errorf("other strings became %+v", ev)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("two\nlines", 4)
	f.Add("\xff\xc3", 1)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(0, min(n, 1000))
		got := printable(s, n)
		if len(got) > n || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Errorf("fit(%q, %d) = %q", s, n, got)
		}
	})
}
