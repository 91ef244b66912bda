package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

var nobody = Client{Addr: netip.MustParseAddr("192.0.2.1"), Via: "tftp"}

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"vmlinuz", "vmlinuz", nil},
		{"/boot/vmlinuz", "boot/vmlinuz", nil},
		{`\boot\x64\boot.efi`, "boot/x64/boot.efi", nil},
		{"//grubx64.efi", "grubx64.efi", nil},
		{"./a//./b/", "a/b", nil},
		{"", ".", nil},
		{"/", ".", nil},
		{"a b/ü.img", "a b/ü.img", nil},
		{"..a/x", "", fs.ErrNotExist},
		{".hidden", "", fs.ErrNotExist},
		{"a/.git/config", "", fs.ErrNotExist},
		{"...", "", fs.ErrNotExist},
		{"../etc/passwd", "", fs.ErrInvalid},
		{"a/../../b", "", fs.ErrInvalid},
		{`a\..\b`, "", fs.ErrInvalid},
		{".a/..", "", fs.ErrInvalid},
		{"a\x00b", "", fs.ErrInvalid},
		{"a\nb", "", fs.ErrInvalid},
		{"a\x1b[2J", "", fs.ErrInvalid},
		{"\xff", "", fs.ErrInvalid},
		{strings.Repeat("a", 256), "", fs.ErrInvalid},
		{strings.Repeat("a/", 3000), "", fs.ErrInvalid},
	} {
		got, err := Clean(tt.name)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Clean(%.40q) = %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if err != nil && (len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x1b\x00")) {
			t.Errorf("Clean(%.40q): error %q is not fit for a log line", tt.name, err)
		}
	}
}

// testTree is a served folder with something behind every kind of wrong name,
// and a secret beside it.
func testTree(t testing.TB, made Made) (*Tree, string) {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, ".state"), 0o755))
	for name, data := range map[string]string{
		"../secret": "secret", "file": "a file", "sub/deep/inner": "inner", ".hidden": "hidden", ".state/db": "hidden",
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	for name, target := range map[string]string{
		"inside": "sub/deep/inner", "sub/up": "../file", "out": "../secret", "abs": filepath.Join(base, "secret"),
		"outdir": "..", "loop": "loop", "dangling": "nothing",
	} {
		must(os.Symlink(target, filepath.Join(dir, name)))
	}
	must(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	tree, err := OpenTree(dir, made, nil)
	must(err)
	t.Cleanup(func() { tree.Close() })
	return tree, base
}

func TestTreeOpen(t *testing.T) {
	tree, base := testTree(t, Made{})
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"file", "a file", nil},
		{`\sub\deep\inner`, "inner", nil},
		{"inside", "inner", nil},
		{"sub/up", "a file", nil},
		{"missing", "", fs.ErrNotExist},
		{"file/below", "", fs.ErrNotExist},
		{"out", "", fs.ErrNotExist},
		{"abs", "", fs.ErrNotExist},
		{"outdir/secret", "", fs.ErrNotExist},
		{"loop", "", fs.ErrNotExist},
		{"dangling", "", fs.ErrNotExist},
		{".hidden", "", fs.ErrNotExist},
		{".state/db", "", fs.ErrNotExist},
		{"../secret", "", fs.ErrInvalid},
		{"sub", "", fs.ErrPermission},
		{"", "", fs.ErrPermission},
		{"fifo", "", fs.ErrPermission},
	} {
		f, err := tree.Open(t.Context(), nobody, tt.name)
		if !errors.Is(err, tt.err) {
			t.Errorf("Open(%q): %v, want %v", tt.name, err, tt.err)
		}
		if err != nil {
			var pe *fs.PathError
			if !errors.As(err, &pe) || strings.Contains(err.Error(), base) || err.Error() != fmt.Sprintf("open %s: %v", pe.Path, tt.err) {
				t.Errorf("Open(%q): error %q says more than %v", tt.name, err, tt.err)
			}
			continue
		}
		got, err := io.ReadAll(f)
		if string(got) != tt.want || err != nil || f.Size() != int64(len(tt.want)) || f.OS() == nil || f.ModTime().IsZero() {
			t.Errorf("Open(%q): %q, %v", tt.name, got, err)
		}
		f.Close()
	}
	if _, err := tree.Open(t.Context(), nobody, "loop"); !errors.Is(Cause(err), syscall.ELOOP) {
		t.Errorf("cause of a loop: %v", Cause(err))
	}
}

func TestTreeClosed(t *testing.T) {
	tree, base := testTree(t, Made{})
	tree.Close()
	_, err := tree.Open(t.Context(), nobody, "file")
	if err == nil || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), base) {
		t.Errorf("open in a closed tree: %v", err)
	}
}

func TestTreeMakers(t *testing.T) {
	var asked []string
	first := func(_ context.Context, c Client, name string) ([]byte, error) {
		asked = append(asked, name)
		switch name {
		case "plan/x", "sub/deep/inner":
			return []byte("made for " + c.Addr.String()), nil
		case "plan/broken":
			return nil, errors.New("open /var/lib/bootlace/state: disk on fire")
		case "plan/forbidden":
			return nil, fmt.Errorf("no: %w", fs.ErrPermission)
		}
		return nil, fmt.Errorf("not a plan: %w", fs.ErrNotExist)
	}
	last := func(_ context.Context, c Client, name string) ([]byte, error) {
		switch name {
		case "file", "boot.ipxe":
			return []byte("made last"), nil
		}
		return nil, fs.ErrNotExist
	}
	tree, _ := testTree(t, Made{Before: first, After: last})
	for _, tt := range []struct{ name, want, err string }{
		{`\plan\x`, "made for 192.0.2.1", ""},
		{"sub/deep/inner", "made for 192.0.2.1", ""},
		{"file", "a file", ""},
		{"boot.ipxe", "made last", ""},
		{"plan/broken", "", "open plan/broken: file cannot be read now"},
		{"plan/forbidden", "", "open plan/forbidden: permission denied"},
		{"other", "", "open other: file does not exist"},
		{"plan/../x", "", "open plan/../x: invalid argument"},
	} {
		f, err := tree.Open(t.Context(), nobody, tt.name)
		if err != nil {
			if err.Error() != tt.err {
				t.Errorf("Open(%q): %q, want %q", tt.name, err, tt.err)
			}
			continue
		}
		got, err := io.ReadAll(f)
		if string(got) != tt.want || err != nil || tt.err != "" {
			t.Errorf("Open(%q): %q, %v", tt.name, got, err)
		}
		if made := strings.HasPrefix(tt.want, "made"); made != (f.OS() == nil) || made != f.ModTime().IsZero() {
			t.Errorf("Open(%q): made %v, OS %v", tt.name, made, f.OS())
		}
		f.Close()
	}
	for _, name := range asked {
		if c, err := Clean(name); err != nil || c != name {
			t.Errorf("a maker was asked for %q", name)
		}
	}
}

func TestTreeReadDirStat(t *testing.T) {
	tree, base := testTree(t, Made{After: func(_ context.Context, _ Client, name string) ([]byte, error) {
		if name == "boot.ipxe" {
			return []byte("#!ipxe"), nil
		}
		return nil, fs.ErrNotExist
	}})
	list, err := tree.ReadDir(t.Context(), nobody, "/")
	var names []string
	for _, e := range list {
		names = append(names, fmt.Sprintf("%s:%v", e.Name(), e.IsDir()))
	}
	if got, want := strings.Join(names, " "), "file:false inside:false sub:true"; got != want || err != nil {
		t.Errorf("listing %q, %v; want %q", got, err, want)
	}
	for name, want := range map[string]error{"file": fs.ErrNotExist, "out": fs.ErrNotExist, "outdir": fs.ErrNotExist, ".state": fs.ErrNotExist, "..": fs.ErrInvalid} {
		if _, err := tree.ReadDir(t.Context(), nobody, name); !errors.Is(err, want) || strings.Contains(err.Error(), base) {
			t.Errorf("ReadDir(%q): %v, want %v", name, err, want)
		}
	}
	for name, want := range map[string]string{"sub": "sub true", "/": ". true", "inside": "inside false", "boot.ipxe": "boot.ipxe false", "out": "", "fifo": ""} {
		info, err := tree.Stat(t.Context(), nobody, name)
		if got := ""; err == nil {
			if got = fmt.Sprint(info.Name(), " ", info.IsDir()); got != want {
				t.Errorf("Stat(%q) = %q, want %q", name, got, want)
			}
		} else if want != "" {
			t.Errorf("Stat(%q): %v", name, err)
		}
	}
}

func TestFileReads(t *testing.T) {
	tree, base := testTree(t, Made{})
	f, err := tree.Open(t.Context(), nobody, "file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pos, err := f.Seek(-4, io.SeekEnd); pos != 2 || err != nil {
		t.Fatal(pos, err)
	}
	if got, err := io.ReadAll(f); string(got) != "file" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// A file that is cut while it is served is no shorter file.
	if err := os.Truncate(filepath.Join(base, "root/file"), 2); err != nil {
		t.Fatal(err)
	}
	if n, err := f.ReadAt(make([]byte, 6), 0); n != 2 || err != io.ErrUnexpectedEOF {
		t.Errorf("%d, %v; want 2 bytes and unexpected EOF", n, err)
	}
}

func FuzzOpen(f *testing.F) {
	tree, base := testTree(f, Made{})
	for _, s := range []string{"file", "/../secret", `..\secret`, "out", "outdir/secret", "abs", "sub/../file", ".hidden", "a\x00", "./.state/db", "fifo", "sub/up/../../../secret"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := Clean(name)
		if err == nil {
			if again, err := Clean(clean); err != nil || again != clean || !fs.ValidPath(clean) {
				t.Errorf("Clean(%q) = %q, which cleans to %q, %v", name, clean, again, err)
			}
		}
		file, err := tree.Open(t.Context(), nobody, name)
		if err != nil {
			if text := err.Error(); strings.Contains(text, base) && !strings.Contains(name, base) {
				t.Errorf("Open(%q): error %q", name, text)
			}
			return
		}
		defer file.Close()
		got, err := io.ReadAll(file)
		if err != nil || string(got) != "a file" && string(got) != "inner" {
			t.Errorf("Open(%q) gave %q, %v", name, got, err)
		}
	})
}

// An error of reading has the path on the host, as that of opening has.
func TestFileReadErrorIsConfined(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir, Made{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	f, err := tree.Open(t.Context(), nobody, "x")
	if err != nil {
		t.Fatal(err)
	}
	f.OS().Close()
	_, err = f.ReadAt(make([]byte, 1), 0)
	if err == nil || strings.Contains(err.Error(), dir) || !strings.Contains(Cause(err).Error(), dir) {
		t.Errorf("error %q, cause %q; want the path %s in the cause alone", err, Cause(err), dir)
	}
}

func TestElsewhere(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("here", "its own")
	write("there/b", "another's")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "there", "out")); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir, Made{
		Elsewhere: func(_ context.Context, _ Client, name string) []string {
			return []string{"nowhere/" + name, "there", "../" + name, "there/" + name}
		},
		After: func(_ context.Context, _ Client, name string) ([]byte, error) {
			if name == "gone" || name == "b" {
				return []byte("made"), nil
			}
			return nil, fs.ErrNotExist
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for name, want := range map[string]bool{"here": true, "/there//b": true, "b": false, "gone": false, "there": false, "there/out": false, "../here": false} {
		if got := tree.Holds(name); got != want {
			t.Errorf("Holds(%s) = %v", name, got)
		}
	}
	for name, want := range map[string]string{"here": "its own", "b": "another's", "gone": "made", "out": "", "none": ""} {
		f, err := tree.Open(t.Context(), nobody, name)
		if want == "" {
			if err == nil {
				t.Errorf("%s: opened", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _ := io.ReadAll(f)
		f.Close()
		if string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What came of a request is counted and noted in one place, in the same words
// for every protocol.
func TestDone(t *testing.T) {
	var noted []string
	tree, err := OpenTree(t.TempDir(), Made{}, func(c Client, ev boot.Event) {
		noted = append(noted, fmt.Sprintf("%s %s %s %s %d/%d %q", c.Addr, ev.Kind, ev.Proto, ev.File, ev.Bytes, ev.Total, ev.Text))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	http := nobody
	http.Via = "http"
	tree.Done(nobody, Outcome{File: "f", Bytes: 9, Total: 9, Text: Sent("f", "", 9, 1234567)})
	tree.Done(http, Outcome{File: "f", Bytes: 3, Total: 9, Text: Sent("f", "bytes 0-2/9", 3, 0)})
	tree.Done(http, Refused("g", Explain(fs.ErrNotExist).Error()))
	want := []string{
		`192.0.2.1 serve tftp f 9/9 "tftp: sent f, 9 bytes in 1ms"`,
		`192.0.2.1 serve http f 3/9 "http: sent f, bytes 0-2/9 in 0s"`,
		`192.0.2.1 serve http g 0/0 "http: g: no such file"`,
	}
	if got := strings.Join(noted, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("noted\n%s", got)
	}
	if n := tree.Count("http"); n.Served.Load() != 1 || n.Failed.Load() != 1 || n.Bytes.Load() != 3 {
		t.Errorf("HTTP: served %d, failed %d, %d bytes", n.Served.Load(), n.Failed.Load(), n.Bytes.Load())
	}
	if n := tree.Count("ftp"); n.Served.Load() != 0 {
		t.Errorf("FTP served %d", n.Served.Load())
	}
}

// Every error of a tree has its refusal, whose text has nothing of the host.
func TestExplain(t *testing.T) {
	tree, _ := testTree(t, Made{})
	for name, want := range map[string]*Refusal{
		"missing": NoFile, ".hidden": NoFile, "out": NoFile, "../secret": NoName, "a\x00b": NoName, "sub": NotServed, "fifo": NotServed,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tree.Open(t.Context(), nobody, name); Explain(err) != want {
				t.Errorf("%v is explained as %v, want %v", err, Explain(err), want)
			}
		})
	}
	tree.Close()
	if _, err := tree.Open(t.Context(), nobody, "file"); Explain(err) != Unreadable {
		t.Errorf("closed: %v", Explain(err))
	}
}
