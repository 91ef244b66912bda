package boot

import (
	"encoding/json"
	"log/slog"
	"testing"
)

func TestKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for _, row := range Kinds {
		t.Run(string(row.Kind), func(t *testing.T) {
			if seen[row.Kind] || row.Kind == "" {
				t.Error("it has two rows, or no name")
			}
			seen[row.Kind] = true
			if row.Phrase != nil && row.Phrase(Event{Text: "text", File: "file"}) == "" {
				t.Error("its phrase is empty")
			}
			if row.Ends && (row.Passing || !row.FromDevice) {
				t.Error("only what a device reports ends a job, and it stays the status")
			}
		})
	}
	if row := Kind("dance").Row(); row.FromDevice || row.Ends || row.Phrase != nil || row.Level != slog.LevelInfo {
		t.Errorf("an unknown kind: %+v", row)
	}
}

func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		name        string
		done, total int64
		want        string
	}{
		{"unknown", 5, 0, ""},
		{"rounded down", 999, 1000, " 99 %"},
		{"whole", 1000, 1000, " 100 %"},
		{"more than there is", 7, 5, " 100 %"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := percent(Event{Bytes: tt.done, Total: tt.total}); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What stands in a state folder of before is what is written now.
func TestWantedJSON(t *testing.T) {
	const old = `{"action":"flash","overwrite":true,"job":"0123456789abcdef"}`
	var w Wanted
	if err := json.Unmarshal([]byte(old), &w); err != nil || w != (Wanted{Order{ActionFlash, true}, "0123456789abcdef"}) {
		t.Errorf("read %+v, %v", w, err)
	}
	if raw, err := json.Marshal(w); err != nil || string(raw) != old {
		t.Errorf("written %s, %v", raw, err)
	}
}

func TestReportURL(t *testing.T) {
	for _, base := range []string{"http://10.0.0.1/", "http://10.0.0.1"} {
		if got, want := ReportURL(base, MAC{2, 0, 0, 0, 0, 1}), "http://10.0.0.1/api/machines/02:00:00:00:00:01/events"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
