package conformance

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp/upload"
)

// Rows can be asked of a server of others without cables, and so without root.
func TestTargetWithoutCables(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	if err := CheckTree(dir); err == nil {
		t.Error("a folder that is not there is a tree")
	}
	if err := MakeTree(dir); err != nil {
		t.Fatal(err)
	}
	if err := CheckTree(dir); err != nil {
		t.Error(err)
	}
	target := &Target{Server: netip.MustParseAddrPort(upload.ServeFolder(t, dir, 200*time.Millisecond)), Dir: dir, Name: "pin"}
	for _, row := range Rows() {
		want := ""
		switch {
		case row.cables:
			want = "–"
		case row.All:
			want = "yes"
		default:
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			if v := row.Run(target); v.Word != want {
				t.Errorf("%+v, want %s", v, want)
			}
		})
	}
}

// Names of rows are unique, and modes have names.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	modes := map[Mode]bool{}
	for _, row := range Rows() {
		if row.Name == "" || row.Source == "" || seen[row.Name] {
			t.Errorf("row %q, source %q: the name is not new, or one of both is empty", row.Name, row.Source)
		}
		seen[row.Name], modes[row.Mode] = true, true
	}
	for _, m := range Modes {
		var read Mode
		if err := read.UnmarshalText([]byte(m.String())); err != nil || read != m || !modes[m] {
			t.Errorf("mode %v is read as %v, %v; rows have it: %v", m, read, err, modes[m])
		}
	}
	if err := new(Mode).UnmarshalText([]byte("other")); err == nil {
		t.Error(`there is a mode "other"`)
	}
}

// What is only late is tried again, what is wrong is not.
func TestTimed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check func(p *probe, n int)
		word  string
		tries int
	}{
		{"holds", func(*probe, int) {}, "yes", 1},
		{"late twice", func(p *probe, n int) {
			if n < 3 {
				p.latef("late")
			}
		}, "yes", 3},
		{"always late", func(p *probe, _ int) { p.latef("late") }, "no", 5},
		{"wrong", func(p *probe, _ int) { p.failf("wrong") }, "no", 1},
		{"not asked for", func(p *probe, _ int) { p.dash("no such mode") }, "–", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			row := Row{check: timed(func(p *probe) {
				n++
				tt.check(p, n)
			})}
			if v := row.Run(&Target{}); v.Word != tt.word || n != tt.tries {
				t.Errorf("%+v after %d tries, want %s after %d", v, n, tt.word, tt.tries)
			}
		})
	}
}
